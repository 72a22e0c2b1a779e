internal import Glibc
internal import KernelABI
internal import Observation

extension LogReplay {
  func socket(_ line: JSONValue, _ builder: inout RecordBuilder) {
    let connection = line["connection_info"]
    var body = mt_sock()
    body.sock = connection?["uid"]?.number ?? 0
    body.protocol = UInt16(clamping: connection?["protocol_num"]?.unsigned ?? 0)
    body.inbound = connection?["direction_id"]?.unsigned == 1 ? 1 : 0
    body.family = UInt16(clamping: line["family"]?.unsigned ?? 0)
    // SOCK_STREAM and SOCK_DGRAM go without saying for TCP and UDP.
    body.type = line["type"]?.uint32 ?? (body.protocol == 17 ? 2 : 1)
    if let source = line["src_endpoint"], let local = Self.address(source["ip"]?.text) {
      body.family = local.family
      body.local_port = UInt16(clamping: source["port"]?.unsigned ?? 0)
      withUnsafeMutableBytes(of: &body.local) { $0.copyBytes(from: local.bytes) }
    }
    if let destination = line["dst_endpoint"], let remote = Self.address(destination["ip"]?.text) {
      body.remote_port = UInt16(clamping: destination["port"]?.unsigned ?? 0)
      withUnsafeMutableBytes(of: &body.remote) { $0.copyBytes(from: remote.bytes) }
    }
    body.sent = line["traffic"]?["bytes_out"]?.unsigned ?? 0
    body.received = line["traffic"]?["bytes_in"]?.unsigned ?? 0
    body.duration = line["duration_ns"]?.unsigned ?? 0
    body.handshake = line["handshake_ns"]?.unsigned ?? 0
    body.established = line["established"]?.bool == false ? 0 : 1
    body.error = line["status_code"]?.text.flatMap { Int32($0) } ?? 0
    builder.setBody(body)
  }

  /// In network byte order, IPv4 in four bytes.
  static func address(_ text: String?) -> (family: UInt16, bytes: [UInt8])? {
    guard let text else { return nil }
    for (family, size) in [(AF_INET, 4), (AF_INET6, 16)] {
      var bytes = [UInt8](repeating: 0, count: size)
      if inet_pton(family, text, &bytes) == 1 { return (UInt16(family), bytes) }
    }
    return nil
  }

  func unixSocket(_ line: JSONValue, _ builder: inout RecordBuilder) {
    let connection = line["connection_info"]
    var body = mt_unix()
    body.sock = connection?["uid"]?.number ?? 0
    body.peer = connection?["peer"]?.number ?? 0
    body.ino = line["ino"]?.unsigned ?? 0
    body.fd = line["fd"]?.signed.flatMap { Int32(exactly: $0) } ?? -1
    body.type = line["type"]?.uint32 ?? 0
    builder.setBody(body)
    if let path = bytes(line["file"], "path", base64: "pathBase64") { builder.setString(.path, path) }
  }

  mutating func security(_ line: JSONValue, _ kind: SecurityKind?, _ builder: inout RecordBuilder) {
    guard let kind else { return builder.setBody(mt_security()) }
    var body = mt_security()
    body.kind = kind.rawValue
    var flags: SecurityFlags = []
    if let target = line["process"] {
      body.target_tgid = (target["pid"] ?? target["namespace_pid"])?.uint32 ?? 0
      if target["namespace_pid"] != nil { flags.insert(.byNumber) }
      body.target_start = target["uid"]?.number.flatMap { start(ofProcess: $0) } ?? 0
    }
    body.file = line["file"]?["uid"] == nil ? mt_file() : file(line["file"], line)
    body.argument = argument(kind, line, &flags)
    if let before = line["before"] {
      flags.insert(.hasBefore)
      body.before = Self.rights(kind, before, otherwise: 0)
    }
    if let after = line["after"] ?? line["asked"] {
      flags.insert(.hasAfter)
      let isAsked = line["asked"] != nil
      if isAsked { flags.insert(.asked) }
      body.after = Self.rights(kind, after, otherwise: isAsked ? .max : 0)
    }
    if let status = line["status_id"]?.unsigned {
      // An outcome was told where the call was seen, whose paths the fold then would have to resolve; here they are.
      flags.insert(.hasOutcome)
      body.error = status == 1 ? 0 : line["status_code"]?.text.flatMap { Int32($0) } ?? 0
    }
    body.security_flags = flags.rawValue
    builder.setBody(body)
    if let path = bytes(line["file"], "path", base64: "pathBase64") { builder.setString(.path, path) }
    if let path = bytes(line["source"], "path", base64: "pathBase64") { builder.setString(.path2, path) }
    let named = line["bpf"] ?? line["file_system"]
    if let detail = bytes(named, "name", base64: "nameBase64") { builder.setString(.detail, detail) }
  }

  private func argument(_ kind: SecurityKind, _ line: JSONValue, _ flags: inout SecurityFlags) -> UInt64 {
    func bits(_ names: [JSONValue]?, _ all: [(flag: UInt64, name: StaticString)]) -> UInt64 {
      let names = (names ?? []).compactMap(\.text)
      return all.reduce(0) { names.contains($1.name.description) ? $0 | $1.flag : $0 }
    }
    switch kind {
    case .moduleLoad: return line["bytes"]?.unsigned ?? 0
    case .bpfMap, .bpfProgram: return line["bpf"]?["type"]?.unsigned ?? 0
    case .mount, .umount: return line["mount_flags"]?.unsigned ?? 0
    case .unshare, .clone, .setns: return bits(line["namespaces"]?.array, NamespaceKind.all)
    case .execMemory:
      if line["call"]?.text == "mprotect" { flags.insert(.protect) }
      let memory = bits(line["memory"]?.array, SecurityFlags.memory.map { (UInt64($0.flag.rawValue), $0.name) })
      flags.insert(SecurityFlags(rawValue: UInt16(truncatingIfNeeded: memory)))
      return line["prot"]?.unsigned ?? 0
    default: return 0
    }
  }

  private static func rights(
    _ kind: SecurityKind, _ object: JSONValue, otherwise: UInt32
  ) -> (UInt64, UInt64, UInt64) {
    if kind == .capset {
      return (
        object["effective"]?.unsigned ?? 0, object["permitted"]?.unsigned ?? 0, object["inheritable"]?.unsigned ?? 0
      )
    }
    func id(_ name: StaticString) -> UInt64 { UInt64(object[name]?.uint32 ?? otherwise) }
    return (id("real") | id("effective") << 32, id("saved") | id("file_system") << 32, 0)
  }
}
