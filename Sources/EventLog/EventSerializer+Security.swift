internal import Jobs
internal import KernelABI
internal import Observation

extension EventSerializer {
  /// The class, the activity and its name, by what was done; ``RecordType/name`` for what this version does not know.
  static func prefix(_ kind: SecurityKind?) -> StaticString {
    switch kind {
    case .processAccess: #"{"class_uid":1007,"activity_id":3,"activity_name":"process_access""#
    case .ptraceAttach: #"{"class_uid":1007,"activity_id":3,"activity_name":"ptrace_attach""#
    case .ptraceSeize: #"{"class_uid":1007,"activity_id":3,"activity_name":"ptrace_seize""#
    case .ptraceTraceme: #"{"class_uid":1007,"activity_id":3,"activity_name":"ptrace_traceme""#
    case .procMem: #"{"class_uid":1007,"activity_id":3,"activity_name":"proc_mem""#
    case .vmRead: #"{"class_uid":1004,"activity_id":7,"activity_name":"process_vm_read""#
    case .vmWrite: #"{"class_uid":1004,"activity_id":8,"activity_name":"process_vm_write""#
    case .pidfdGetfd: #"{"class_uid":1007,"activity_id":3,"activity_name":"pidfd_getfd""#
    case .moduleLoad: #"{"class_uid":1002,"activity_id":1,"activity_name":"module_load""#
    case .bpfMap: #"{"class_uid":1003,"activity_id":1,"activity_name":"bpf_map""#
    case .bpfProgram: #"{"class_uid":1002,"activity_id":1,"activity_name":"bpf_program""#
    case .mount: #"{"class_uid":1001,"activity_id":12,"activity_name":"mount""#
    case .moveMount: #"{"class_uid":1001,"activity_id":12,"activity_name":"move_mount""#
    case .umount: #"{"class_uid":1001,"activity_id":13,"activity_name":"umount""#
    case .pivotRoot: #"{"class_uid":1001,"activity_id":99,"activity_name":"pivot_root""#
    case .unshare: #"{"class_uid":1007,"activity_id":99,"activity_name":"unshare""#
    case .clone: #"{"class_uid":1007,"activity_id":99,"activity_name":"clone""#
    case .setns: #"{"class_uid":1007,"activity_id":99,"activity_name":"setns""#
    case .setuid: #"{"class_uid":1007,"activity_id":5,"activity_name":"setuid""#
    case .setgid: #"{"class_uid":1007,"activity_id":99,"activity_name":"setgid""#
    case .capset: #"{"class_uid":1007,"activity_id":99,"activity_name":"capset""#
    case .execMemory: #"{"class_uid":1004,"activity_id":99,"activity_name":"exec_memory""#
    case nil: #"{"class_uid":1007,"activity_id":99,"activity_name":"security""#
    }
  }

  func writeSecurity(_ record: RecordView, _ applied: borrowing Applied, to out: inout Line) {
    let body = record.security
    let flags = record.securityFlags
    if body.target_tgid != 0 { writeTarget(body, flags, applied.targetID, to: &out) }
    if applied.directory.count &+ applied.name.count > 0 || body.file.ino != 0 {
      out.append(",\"file\":{")
      writePath(applied, to: &out)
      if body.file.ino != 0 {
        out.append(",\"uid\":\"")
        writeIdentity(body.file.dev, body.file.ino, to: &out)
        writeGeneration(body.file.generation, to: &out)
      }
      out.append(UInt8(ascii: "}"))
    }
    if applied.directory2.count &+ applied.name2.count > 0 {
      out.append(",\"source\":{")
      writePath(applied, second: true, to: &out)
      out.append(UInt8(ascii: "}"))
    }
    if let kind = record.securityKind { writeArgument(kind, body, flags, applied, to: &out) }
    if flags.contains(.hasBefore) { writeRights(",\"before\":{", record.securityKind, body.before, flags, to: &out) }
    if flags.contains(.hasAfter) {
      let key: StaticString = flags.contains(.asked) ? ",\"asked\":{" : ",\"after\":{"
      writeRights(key, record.securityKind, body.after, flags, to: &out)
    }
    guard flags.contains(.hasOutcome) else { return }
    if body.error == 0 {
      out.append(",\"status_id\":1")
    } else {
      out.append(",\"status_id\":2,\"status_code\":\"")
      out.append(number: body.error)
      out.append(UInt8(ascii: "\""))
    }
  }

  /// The process that it is done to.
  private func writeTarget(_ body: mt_security, _ flags: SecurityFlags, _ target: UInt32, to out: inout Line) {
    out.append(",\"process\":{")
    if target != 0 {
      out.append("\"uid\":\"")
      out.append(number: target)
      out.append("\",")
    }
    // A number in a namespace says nothing outside of it.
    out.append(flags.contains(.byNumber) ? "\"namespace_pid\":" : "\"pid\":")
    out.append(number: body.target_tgid)
    out.append(UInt8(ascii: "}"))
    if target != 0 { out.append(",\"target_in_job\":true") }
  }

  private func writeArgument(
    _ kind: SecurityKind, _ body: mt_security, _ flags: SecurityFlags, _ applied: borrowing Applied, to out: inout Line
  ) {
    switch kind {
    case .moduleLoad:
      if body.argument != 0 {
        out.append(",\"bytes\":")
        out.append(number: body.argument)
      }
    case .bpfMap, .bpfProgram:
      out.append(",\"bpf\":{\"type\":")
      out.append(number: body.argument)
      if applied.detail.count > 0 {
        writeString(",\"name\":", base64: ",\"nameBase64\":", applied.detail, to: &out)
      }
      out.append(UInt8(ascii: "}"))
    case .mount, .moveMount, .umount:
      if applied.detail.count > 0 {
        out.append(",\"file_system\":{")
        writeString("\"name\":", base64: ",\"nameBase64\":", applied.detail, to: &out)
        out.append(UInt8(ascii: "}"))
      }
      if kind != .moveMount {
        out.append(",\"mount_flags\":")
        out.append(number: body.argument)
      }
    case .unshare, .clone, .setns:
      out.append(",\"namespaces\":[")
      var separator: StaticString = "\""
      for namespace in NamespaceKind.all where body.argument & namespace.flag != 0 {
        out.append(separator)
        out.append(namespace.name)
        out.append(UInt8(ascii: "\""))
        separator = ",\""
      }
      out.append(UInt8(ascii: "]"))
    case .execMemory:
      out.append(",\"prot\":")
      out.append(number: body.argument)
      out.append(flags.contains(.protect) ? ",\"call\":\"mprotect\"" : ",\"call\":\"mmap\"")
      out.append(",\"memory\":[")
      var separator: StaticString = "\""
      for memory in SecurityFlags.memory where flags.contains(memory.flag) {
        out.append(separator)
        out.append(memory.name)
        out.append(UInt8(ascii: "\""))
        separator = ",\""
      }
      out.append(UInt8(ascii: "]"))
    default: break
    }
  }

  private func writeRights(
    _ key: StaticString, _ kind: SecurityKind?, _ values: (UInt64, UInt64, UInt64), _ flags: SecurityFlags,
    to out: inout Line
  ) {
    out.append(key)
    if kind == .capset {
      out.append("\"effective\":")
      out.append(number: values.0)
      out.append(",\"permitted\":")
      out.append(number: values.1)
      out.append(",\"inheritable\":")
      out.append(number: values.2)
    } else {
      let names: [StaticString] = ["\"real\":", "\"effective\":", "\"saved\":", "\"file_system\":"]
      let words = [values.0, values.0 >> 32, values.1, values.1 >> 32]
      var isFirst = true
      for (name, word) in zip(names, words) {
        let id = UInt32(truncatingIfNeeded: word)
        // Nothing was asked for.
        if flags.contains(.asked), id == .max { continue }
        if !isFirst { out.append(UInt8(ascii: ",")) }
        isFirst = false
        out.append(name)
        out.append(number: id)
      }
    }
    out.append(UInt8(ascii: "}"))
  }
}
