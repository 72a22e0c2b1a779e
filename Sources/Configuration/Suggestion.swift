/// `a, b or c`.
func names(_ all: [String]) -> String {
  guard all.count > 1, let last = all.last else { return all.first ?? "" }
  return all.dropLast().joined(separator: ", ") + " or " + last
}

/// A sentence about a word that is none of those that may stand there, with the one that was probably meant.
func unknown(_ what: String, _ word: String, among known: [String]) -> String {
  if let near = nearest(to: word, among: known) {
    return "there is no \(what) \(quoted(word)); did you mean '\(near)'?"
  }
  return "there is no \(what) \(quoted(word)); there is \(names(known))"
}

/// The known word that a typing error or two turn into this one.
private func nearest(to word: String, among known: [String]) -> String? {
  let letters = Array(word.lowercased().utf8.prefix(64))
  let limit = letters.count <= 4 ? 1 : 2
  return known.map { (distance(letters, Array($0.lowercased().utf8)), $0) }
    .filter { $0.0 <= limit }.min { $0.0 < $1.0 }?.1
}

/// How many letters have to be added, taken away, exchanged, or swapped with their neighbour (optimal string alignment).
func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
  var beforeLast: [Int] = []
  var last = Array(0...b.count)
  for i in a.indices {
    var row = [i + 1]
    for j in b.indices {
      var best = min(last[j + 1], row[j]) + 1
      best = min(best, last[j] + (a[i] == b[j] ? 0 : 1))
      if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { best = min(best, beforeLast[j - 1] + 1) }
      row.append(best)
    }
    beforeLast = last
    last = row
  }
  return last[b.count]
}
