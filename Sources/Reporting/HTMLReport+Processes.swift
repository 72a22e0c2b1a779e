internal import Jobs

/// The process tree: nested `<details>`, one row a process with its time on the job's own time line.
struct ProcessSection {
  let tree: ProcessTree
  let timeline: Timeline
  let clock: WallClock
  /// HTML parsers stop nesting at 512 elements; people stop earlier.
  private let maximumDepth = 24
  private let maximumChildren = 250
  /// Rows that are unfolded at first.
  private let openRows = 48

  func write(to html: inout HTMLOutput) {
    html.markup("<section class=\"tree\">\n<h2>Processes <span class=\"count\">")
    html.text(Units.grouped(tree.processes.count))
    html.markup("</span></h2>\n")
    if tree.processes.isEmpty {
      html.markup("<p class=\"none\">No process was seen.</p>\n")
    } else {
      html.markup("<p class=\"hint\">In order of start. Open a row for its command line and what it used; ")
      html.markup("the bar shows when it ran.</p>\n<div class=\"roots\">\n")
      let limit = html.bytes.count + HTMLReport.processBytes
      write(tree.roots, depth: 0, openDepth: openDepth(), limit: limit, to: &html)
      html.markup("</div>\n")
    }
    html.markup("</section>\n")
  }

  /// How many levels can be open before there is too much to see at once.
  private func openDepth() -> Int {
    var level = tree.roots
    var shown = level.count
    for depth in 0..<maximumDepth {
      level = level.flatMap { tree.children[$0] }
      shown += level.count
      if level.isEmpty || shown > openRows { return max(1, depth) }
    }
    return maximumDepth
  }

  /// Recursion ends at `maximumDepth`.
  private func write(_ siblings: [Int], depth: Int, openDepth: Int, limit: Int, to html: inout HTMLOutput) {
    for (position, index) in siblings.enumerated() {
      if html.bytes.count > limit || position >= maximumChildren {
        html.markup("<p class=\"more\">… ")
        html.text(tree.summary(ofOmitted: siblings[position...]), limit: 200)
        html.markup("</p>\n")
        return
      }
      let children = tree.children[index]
      if children.isEmpty {
        html.markup("<details class=\"p leaf\" id=\"p")
        html.number(tree.processes[index].id)
        html.markup("\">")
        writeRow(index, to: &html)
        writeFacts(index, to: &html)
      } else {
        html.markup("<details class=\"p\" id=\"p")
        html.number(tree.processes[index].id)
        html.markup(depth < openDepth ? "\" open>" : "\">")
        writeRow(index, to: &html)
        html.markup("<details class=\"about\"><summary title=\"About this process\">···</summary>")
        writeFacts(index, to: &html)
        html.markup("</details><div class=\"kids\">\n")
        if depth + 1 < maximumDepth {
          write(children, depth: depth + 1, openDepth: openDepth, limit: limit, to: &html)
        } else {
          html.markup("<p class=\"more\">… ")
          html.text(tree.summary(ofOmitted: children), limit: 200)
          html.markup("</p>\n")
        }
        html.markup("</div>")
      }
      html.markup("</details>\n")
    }
  }

  private func writeRow(_ index: Int, to html: inout HTMLOutput) {
    let process = tree.processes[index]
    html.markup("<summary><span class=\"line\"><b>")
    html.text(tree.label(index), limit: 60)
    html.markup("</b><small> ")
    html.number(process.id)
    html.markup("</small>")
    writeArguments(index, to: &html)
    html.markup("</span>")
    writeBadges(process, to: &html)
    if tree.descendants[index] > 0 {
      html.markup("<span class=\"below\" title=\"processes below\">")
      html.text("+\(Units.grouped(tree.descendants[index]))")
      html.markup("</span>")
    }
    html.markup("<span class=\"time\">")
    html.text(Units.duration(tree.duration(index, until: timeline.end)))
    html.markup("</span>")
    let from = timeline.permille(process.startedAt)
    let to = timeline.permille(process.endedAt ?? timeline.end)
    html.markup("<svg class=\"when\" viewBox=\"0 0 1000 1\" preserveAspectRatio=\"none\" aria-hidden=\"true\">")
    html.markup("<rect x=\"")
    html.number(min(from, 988))
    html.markup("\" y=\"0\" width=\"")
    html.number(max(12, to - from))
    html.markup("\" height=\"1\"/></svg></summary>")
  }

  /// The end of a command line tells compilations apart: where space is short, the middle goes.
  private func writeArguments(_ index: Int, to html: inout HTMLOutput) {
    let arguments = tree.argumentText(index)
    if arguments.isEmpty {
      if tree.processes[index].images.isEmpty { html.markup("<span class=\"args\"> (fork)</span>") }
      return
    }
    let scalars = arguments.unicodeScalars
    html.markup("<span class=\"args\"> ")
    let tail = scalars.index(scalars.endIndex, offsetBy: -24, limitedBy: scalars.startIndex)
    if arguments.utf8.count > 64, let tail {
      html.text(String(scalars[..<tail]), limit: 140)
      html.markup("</span><span class=\"tail\">")
      html.text(String(scalars[tail...]), limit: 24)
    } else {
      html.text(arguments, limit: 64)
    }
    html.markup("</span>")
  }

  private func writeBadges(_ process: ProcessSummary, to html: inout HTMLOutput) {
    if let waitStatus = process.waitStatus {
      let status = ExitStatus(waitStatus: waitStatus)
      if !status.isSuccess {
        html.markup("<span class=\"badge bad\">")
        html.text(status.text)
        html.markup("</span>")
      }
    } else {
      html.markup("<span class=\"badge warn\">still running</span>")
    }
    if process.outlivedCommand, process.waitStatus != nil {
      html.markup("<span class=\"badge warn\">outlived the command</span>")
    }
    if process.images.contains(where: \.isMemoryFile) {
      html.markup("<span class=\"badge warn\">program in memory</span>")
    } else if process.images.contains(where: \.isDeleted) {
      html.markup("<span class=\"badge warn\">deleted program</span>")
    } else if process.images.contains(where: \.isInTmpfs) {
      html.markup("<span class=\"badge warn\">program in a tmpfs</span>")
    }
    if process.images.contains(where: \.isLoader) {
      html.markup("<span class=\"badge warn\">run by the loader</span>")
    }
    if process.images.count > 1 {
      html.markup("<span class=\"badge\" title=\"programs that this process ran, one after the other\">")
      html.text("\(process.images.count) execs")
      html.markup("</span>")
    }
  }

  private func writeFacts(_ index: Int, to html: inout HTMLOutput) {
    let process = tree.processes[index]
    html.markup("<dl class=\"facts\">")
    func fact(_ label: StaticString, _ body: (inout HTMLOutput) -> Void) {
      html.markup("<dt>")
      html.markup(label)
      html.markup("</dt><dd>")
      body(&html)
      html.markup("</dd>")
    }
    for image in process.images.prefix(8) {
      fact("ran") { html in
        html.code(CommandLine.text(image.arguments), limit: 1200)
        if image.fullArgumentBytes != nil { html.markup(" (cut)") }
      }
      fact("program") { html in
        html.path(image.executable.pathText)
        if let filename = image.filename, filename.bytes != image.executable.bytes {
          html.markup(" as ")
          html.code(filename.pathText)
        }
      }
      if let digest = image.digest {
        fact("SHA-256") { html in
          if let text = digest.text {
            html.code(String(text.dropFirst("sha256:".count)))
            html.text(digest.how == .kernel ? " by the kernel" : "")
          } else {
            html.text("not known: \(DigestText.reason(digest))")
          }
        }
      }
      fact("in") { $0.code(image.workingDirectory.pathText) }
    }
    if process.images.count > 8 {
      fact("ran") { $0.text("\(Units.grouped(process.images.count - 8)) more programs, see report.json") }
    }
    fact("process") { html in
      var text = "\(process.id), pid \(process.pid)"
      if let image = process.images.last { text += ", user \(image.user), group \(image.group)" }
      if process.parentIsUnknown { text += ", parent not seen" }
      html.text(text)
    }
    fact("time") { html in
      let began = WallClock.parts(clock.nanoseconds(process.startedAt)).time
      let ended = process.endedAt.map { WallClock.parts(clock.nanoseconds($0)).time } ?? "…"
      let cpu = process.userNanoseconds &+ process.systemNanoseconds
      html.text("\(began) to \(ended), \(Units.duration(cpu)) of CPU")
    }
    fact("used") { html in
      html.text(
        "\(Units.bytes(process.peakResidentBytes)) of memory, read \(Units.bytes(process.readBytes)), "
          + "wrote \(Units.bytes(process.writtenBytes))")
      if process.threads > 0 { html.text(", \(Units.count(process.threads, "more thread", "more threads"))") }
    }
    if let waitStatus = process.waitStatus {
      fact("ended") { $0.text(ExitStatus(waitStatus: waitStatus).text) }
    }
    html.markup("</dl>")
  }
}
