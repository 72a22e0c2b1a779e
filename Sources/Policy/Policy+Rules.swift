extension Policy {
  /// Shows each rule's head, in the order: sections as in ``Policy``, in each `deny`, then `allow`.
  mutating func forEachHead(_ body: (inout RuleHead) -> Void) {
    func visit(_ rules: inout [some PolicyRule]) {
      for index in rules.indices { body(&rules[index].head) }
    }
    if var section = network {
      visit(&section.deny)
      visit(&section.allow)
      network = section
    }
    if var section = exec {
      visit(&section.deny)
      visit(&section.allow)
      exec = section
    }
    if var section = files {
      visit(&section.deny)
      visit(&section.allow)
      files = section
    }
    if var section = memory {
      visit(&section.protect)
      memory = section
    }
    if var section = system {
      visit(&section.deny)
      visit(&section.allow)
      system = section
    }
  }

  /// All rules' heads, in the order of ``forEachHead(_:)``.
  public var heads: [RuleHead] {
    var heads: [RuleHead] = []
    var policy = self
    policy.forEachHead { heads.append($0) }
    return heads
  }

  /// Numbers the rules from 1: in the order of the file where they were read, else in that of ``forEachHead(_:)``.
  public mutating func number() {
    let heads = heads
    let places = heads.compactMap(\.place)
    var order = Array(heads.indices)
    if places.count == heads.count { order.sort { places[$0] < places[$1] } }
    var numbers = [UInt32](repeating: 0, count: heads.count)
    for (number, index) in order.enumerated() { numbers[index] = UInt32(number + 1) }
    var next = numbers.makeIterator()
    forEachHead { $0.number = next.next() ?? 0 }
  }

  /// The same as if it had been made, not read.
  public var withoutPlaces: Policy {
    var policy = self
    policy.forEachHead { $0.place = nil }
    return policy
  }
}
