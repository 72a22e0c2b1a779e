internal import Jobs
internal import Observation

extension JSONReport {
  static func write(process index: Int, of tree: ProcessTree, clock: WallClock, to json: inout JSONOutput) {
    let process = tree.processes[index]
    json.member("id", process.id)
    json.member("parent", process.parent)
    json.member("pid", process.pid)
    let image = tree.image(index)
    json.name(
      "executable", base64: "executableBase64", truncated: "executableTruncated",
      image?.executable ?? Name(bytes: []))
    // A fork without an exec has its parent's program but no command line that was its own.
    json.names("arguments", base64: "argumentsBase64", process.images.last?.arguments ?? [])
    json.name(
      "workingDirectory", base64: "workingDirectoryBase64", truncated: "workingDirectoryTruncated",
      image?.workingDirectory ?? Name(bytes: []))
    json.member("startedAt", clock.rfc3339(process.startedAt))
    if let endedAt = process.endedAt {
      json.member("endedAt", clock.rfc3339(endedAt))
    } else {
      json.null("endedAt")
    }
    json.exitStatus(process.waitStatus)
    if process.step != 0 { json.member("step", process.step) } else { json.null("step") }
    if process.container != 0 { json.member("container", process.container) } else { json.null("container") }
    if let endedAt = process.endedAt {
      json.member("durationNanoseconds", endedAt > process.startedAt ? endedAt - process.startedAt : 0)
    } else {
      json.null("durationNanoseconds")
    }
    json.member("userNanoseconds", process.userNanoseconds)
    json.member("systemNanoseconds", process.systemNanoseconds)
    json.member("readBytes", process.readBytes)
    json.member("writtenBytes", process.writtenBytes)
    json.member("peakResidentBytes", process.peakResidentBytes)
    json.member("threads", process.threads)
    json.member("outlivedCommand", process.outlivedCommand)
    json.array("executions") { json in
      for image in process.images { json.object { write(image, clock: clock, to: &$0) } }
    }
  }

  private static func write(_ image: ImageSummary, clock: WallClock, to json: inout JSONOutput) {
    json.member("id", image.id)
    json.member("at", clock.rfc3339(image.at))
    json.name("executable", base64: "executableBase64", truncated: "executableTruncated", image.executable)
    if let filename = image.filename {
      json.name("filename", base64: "filenameBase64", truncated: "filenameTruncated", filename)
    }
    json.names("arguments", base64: "argumentsBase64", image.arguments)
    if let full = image.fullArgumentBytes { json.member("fullArgumentBytes", full) }
    json.name(
      "workingDirectory", base64: "workingDirectoryBase64", truncated: "workingDirectoryTruncated",
      image.workingDirectory)
    json.identity(image.identity)
    json.member("size", image.size)
    if let digest = image.digest { write(digest, clock: clock, to: &json) }
    json.member("user", image.user)
    json.member("group", image.group)
    if image.isDeleted { json.member("isDeleted", true) }
    if image.isMemoryFile { json.member("isMemoryFile", true) }
    if image.isInTmpfs { json.member("isInTmpfs", true) }
    if image.isLoader { json.member("isLoader", true) }
    if image.isChrooted { json.member("isChrooted", true) }
  }

  static func write(_ flow: FlowSummary, clock: WallClock, to json: inout JSONOutput) {
    json.member("kind", flow.kind.rawValue)
    json.member("state", flow.state.rawValue)
    json.member("direction", flow.isInbound ? "inbound" : "outbound")
    json.member("process", flow.process)
    json.member("image", flow.image)
    json.member("localAddress", flow.localAddress)
    json.member("localPort", flow.localPort)
    json.member("remoteAddress", flow.remoteAddress)
    json.member("remotePort", flow.remotePort)
    if let host = flow.host { json.name("host", base64: "hostBase64", truncated: "hostTruncated", host) }
    if let named = flow.serverName {
      json.object("serverName") { json in
        if let source = named.source { json.member("by", source.rawValue) }
        if let name = named.name { json.name("name", base64: "nameBase64", truncated: "nameTruncated", name) }
        if named.port != 0 { json.member("port", named.port) }
        json.member("isHidden", named.name == nil)
        json.member("helloIsEncrypted", named.helloIsEncrypted)
      }
    }
    json.member("protocol", flow.networkProtocol)
    json.member("startedAt", clock.rfc3339(flow.startedAt))
    json.optional("durationNanoseconds", flow.durationNanoseconds)
    json.optional("sentBytes", flow.sentBytes)
    json.optional("receivedBytes", flow.receivedBytes)
    json.member("error", flow.error)
    json.member("repeats", flow.repeats)
    if flow.repeats > 0 { json.member("lastAt", clock.rfc3339(flow.lastAt)) }
    if flow.requests.count > 0 { json.object("requests") { write(flow.requests, to: &$0) } }
  }

  static func write(_ file: FileSummary, clock: WallClock, to json: inout JSONOutput) {
    json.member("id", file.id)
    json.name("path", base64: "pathBase64", truncated: "pathTruncated", file.path)
    if file.pathIsUnresolved { json.member("pathIsUnresolved", true) }
    if !file.otherPaths.isEmpty { json.names("otherPaths", base64: "otherPathsBase64", file.otherPaths) }
    json.identity(file.identity)
    if file.identityFromStat { json.member("identityFromStat", true) }
    json.member("mode", file.mode)
    json.member("created", file.wasCreated)
    json.member("read", file.wasRead)
    json.member("written", file.wasWritten)
    json.member("deleted", file.isDeleted)
    json.array("writers") { for writer in file.writers { $0.member(nil, writer) } }
    json.array("readers") { for reader in file.readers { $0.member(nil, reader) } }
    json.member("readerCount", file.readerCount)
    json.optional("size", file.size)
    if let bytes = file.bytes {
      json.member("bytesRead", bytes.read)
      json.member("bytesWritten", bytes.written)
      json.array("bytesByImage") { json in
        for access in file.accesses {
          guard let bytes = access.bytes, bytes != ByteCounts() else { continue }
          json.object { json in
            json.member("image", access.image)
            json.member("process", access.process)
            json.member("bytesRead", bytes.read)
            json.member("bytesWritten", bytes.written)
          }
        }
      }
    }
    if let digest = file.digest {
      write(digest, clock: clock, to: &json)
      json.member("digestIsAsClosed", digest.isAsClosed)
    }
    if let changeTime = file.changeTime {
      json.member("changeTime", WallClock.rfc3339(nanoseconds: changeTime))
    } else {
      json.null("changeTime")
    }
    json.member("firstOpenedAt", clock.rfc3339(file.firstOpenedAt))
    if let lastClosedAt = file.lastClosedAt {
      json.member("lastClosedAt", clock.rfc3339(lastClosedAt))
      if file.lastCloseIsUpperBound { json.member("lastCloseIsUpperBound", true) }
    } else {
      json.null("lastClosedAt")
    }
  }

  private static func write(_ digest: FileDigest, clock: WallClock, to json: inout JSONOutput) {
    if let text = digest.text {
      json.member("digest", text)
      json.member("digestBy", digest.how.rawValue)
    } else {
      json.null("digest")
      json.member("digestAbsent", (digest.absence ?? .notHashed).name.description)
    }
    if digest.at != 0 { json.member("digestAt", clock.rfc3339(digest.at)) } else { json.null("digestAt") }
  }

  static func write(_ change: PathChange, clock: WallClock, to json: inout JSONOutput) {
    json.member("kind", change.kind.rawValue)
    json.member("process", change.process)
    json.member("at", clock.rfc3339(change.at))
    json.name("path", base64: "pathBase64", truncated: "pathTruncated", change.path)
    if let target = change.target {
      json.name("target", base64: "targetBase64", truncated: "targetTruncated", target)
    }
    switch change.kind {
    case .chmod, .mkdir, .mknod: json.member("mode", change.argument)
    case .truncate: json.member("length", change.argument)
    case .chown:
      json.member("user", UInt32(truncatingIfNeeded: change.argument >> 32))
      json.member("group", UInt32(truncatingIfNeeded: change.argument))
    case .rename, .unlink, .rmdir, .link, .symlink: break
    }
  }
}

extension JSONOutput {
  mutating func optional(_ key: StaticString, _ value: UInt64?) {
    if let value { member(key, value) } else { null(key) }
  }

  /// An array of names; if one of them is not UTF-8, a second array has base64 at its place and null elsewhere.
  mutating func names(_ key: StaticString, base64 base64Key: StaticString, _ names: [Name]) {
    array(key) { for name in names { $0.member(nil, name.plainText) } }
    if names.contains(where: { !$0.isValidUTF8 }) {
      array(base64Key) { json in
        for name in names {
          if name.isValidUTF8 { json.null() } else { json.member(nil, Base64.encode(name.bytes)) }
        }
      }
    }
  }

  /// `exitCode`, null unless the process ended by itself; `signal` and `coreDumped` where a signal ended it.
  mutating func exitStatus(_ waitStatus: UInt32?) {
    switch waitStatus.map(ExitStatus.init(waitStatus:)) {
    case .exited(let code):
      member("exitCode", code)
    case .killed(let signal, let coreDumped):
      null("exitCode")
      member("signal", ExitStatus.name(ofSignal: signal))
      member("coreDumped", coreDumped)
    case nil:
      null("exitCode")
    }
  }

  mutating func identity(_ identity: FileIdentity) {
    member("device", identity.device)
    member("inode", identity.inode)
    member("generation", identity.generation)
  }
}
