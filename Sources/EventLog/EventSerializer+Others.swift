internal import Jobs
internal import KernelABI
internal import Observation

extension EventSerializer {
  // MARK: - Processes

  func writeFork(_ record: RecordView, to out: inout Line) {
    let body = record.fork
    out.append(",\"process\":{\"pid\":")
    out.append(number: body.child_tgid)
    if body.real_parent_tgid != record.tgid {
      out.append(",\"parent_process\":{\"pid\":")
      out.append(number: body.real_parent_tgid)
      out.append(UInt8(ascii: "}"))
    }
    out.append(UInt8(ascii: "}"))
    if body.child_ns_tgid != body.child_tgid {
      out.append(",\"namespace_pid\":")
      out.append(number: body.child_ns_tgid)
    }
    if body.shares_files != 0 { out.append(",\"shares_files\":true") }
    if body.step != 0 {
      out.append(",\"child_step\":")
      out.append(number: body.step)
    }
  }

  /// Of a process that was there before martlet the program, too: no exec tells it.
  func writeClaim(_ record: RecordView, _ applied: borrowing Applied, to out: inout Line) {
    let body = record.claim
    out.append(",\"rule\":")
    out.append(number: body.rule)
    out.append(",\"reason\":\"")
    out.append(body.claimReason?.name ?? "unknown")
    out.append("\",\"is_new\":")
    out.append(body.is_new != 0 ? "true" : "false")
    out.append(",\"cgroup\":")
    out.append(number: body.cgroup)
    if let bytes = record.string(.detail) { writeContainer(bytes, to: &out) }
    writeProcess(record.tgid, parent: body.parent_tgid, to: &out)
    out.append("},\"user\":{\"uid\":\"")
    out.append(number: body.uid)
    out.append("\"}")
    if record.string(.exe) != nil {
      out.append(",\"file\":{")
      writeString("\"path\":", base64: ",\"pathBase64\":", applied.executable, to: &out)
      out.append("},")
      writeList("\"args\":[", base64: ",\"argsBase64\":", cut: ",\"argsCut\":true", applied.arguments, to: &out)
      out.append(",")
      writeString(
        "\"working_directory\":", base64: ",\"working_directoryBase64\":", applied.workingDirectory, to: &out)
    }
    out.append("}")
    writeVariables(applied, to: &out)
  }

  /// The container's id, and what Kubernetes calls it: ``PodLabels/encoded(id:)``.
  private func writeContainer(_ bytes: UnsafeRawBufferPointer, to out: inout Line) {
    let fields = bytes.split(separator: 0, maxSplits: PodLabels.keys.count, omittingEmptySubsequences: false).map {
      UnsafeRawBufferPointer(rebasing: $0)
    }
    guard let id = fields.first, ContainerName.isIdentifier(id) else { return }
    out.append(",\"container_id\":\"")
    out.append(id)
    out.append("\"")
    guard fields.count > PodLabels.keys.count else { return }
    out.append(",\"pod\":{")
    var isFirst = true
    for (key, field) in zip(PodLabels.keys, fields.dropFirst()) where !field.isEmpty {
      if !isFirst { out.append(",") }
      isFirst = false
      out.append("\"")
      out.append(key)
      writeString("\":", base64: ",\"base64\":", field, to: &out)
    }
    out.append("}")
  }

  /// `,"process":{"pid":…,"parent_process":{"pid":…` without the closing braces.
  private func writeProcess(_ pid: UInt32, parent: UInt32, to out: inout Line) {
    out.append(",\"process\":{\"pid\":")
    out.append(number: pid)
    out.append(",\"parent_process\":{\"pid\":")
    out.append(number: parent)
  }

  /// Those that may be stored, masked.
  func writeVariables(_ applied: borrowing Applied, to out: inout Line) {
    if applied.variables.isEmpty { return }
    out.append(",")
    writeList(
      "\"variables\":[", base64: ",\"variablesBase64\":", cut: ",\"variablesCut\":true", applied.variables, to: &out)
  }

  mutating func writeExec(_ record: RecordView, _ applied: borrowing Applied, to out: inout Line) {
    let body = record.exec
    writeProcess(record.tgid, parent: body.parent_tgid, to: &out)
    out.append("},\"file\":{")
    writeExecutable(body, applied.executable, to: &out)
    out.append("},")
    writeCall(body, applied, to: &out)
    let filename = applied.filename
    if !filename.isEmpty, !equal(filename, applied.executable) {
      // An object of its own, as each string that may be marked as cut needs one.
      out.append(",\"called\":{")
      writeString("\"path\":", base64: ",\"pathBase64\":", filename, to: &out)
      out.append(UInt8(ascii: "}"))
    }
    if applied.descriptorSet != 0 {
      out.append(",\"descriptor_set\":")
      out.append(number: applied.descriptorSet)
    }
    writeExecFlags(body, record.tgid, to: &out)
    if LoaderName.matches(applied.executable) { out.append(",\"loader\":true") }
  }

  /// The file that runs: its path, its identity and state. A build runs the same few over and over.
  private mutating func writeExecutable(_ body: mt_exec, _ path: UnsafeRawBufferPointer, to out: inout Line) {
    let key = ExecutableKey(body, limit: limit.string)
    let none = UnsafeRawBufferPointer(start: nil, count: 0)
    if let text = executables.find(key, at: key.inode, path, none) {
      out.append(text)
      return
    }
    let start = out.end
    writeString("\"path\":", base64: ",\"pathBase64\":", path, to: &out)
    out.append(",\"uid\":\"")
    writeIdentity(body.file.dev, body.file.ino, to: &out)
    writeGeneration(body.file.generation, to: &out)
    out.append(",\"size\":")
    out.append(number: body.size)
    out.append(",\"ctime_ns\":")
    out.append(number: body.ctime)
    out.append(",\"mtime_ns\":")
    out.append(number: body.mtime)
    executables.keep(key, at: key.inode, path, none, UnsafeRawBufferPointer(start: start, count: out.end - start))
  }

  /// Arguments, working directory and users, up to the cgroup. A script runs the same commands over and over.
  private mutating func writeCall(_ body: mt_exec, _ applied: borrowing Applied, to out: inout Line) {
    let key = CallKey(body, limit: limit.string)
    let arguments = applied.arguments
    let directory = applied.workingDirectory
    // Commands of a script have the same programs and differ at their ends.
    let number = UInt64(truncatingIfNeeded: arguments.count) ^ arguments.lastWord
    if let text = calls.find(key, at: number, arguments, directory) {
      out.append(text)
      return
    }
    let start = out.end
    writeList("\"args\":[", base64: ",\"argsBase64\":", cut: ",\"argsCut\":true", arguments, to: &out)
    out.append(",\"argc\":")
    out.append(number: body.argc)
    out.append(",\"args_bytes\":")
    out.append(number: body.argv_bytes)
    out.append(",")
    writeString("\"working_directory\":", base64: ",\"working_directoryBase64\":", directory, to: &out)
    out.append(",\"user\":{\"uid\":\"")
    out.append(number: body.uid)
    out.append("\"},\"group\":{\"uid\":\"")
    out.append(number: body.gid)
    out.append("\"}},\"cgroup\":")
    out.append(number: body.cgroup)
    calls.keep(key, at: number, arguments, directory, UnsafeRawBufferPointer(start: start, count: out.end - start))
  }

  private func writeExecFlags(_ body: mt_exec, _ pid: UInt32, to out: inout Line) {
    if body.old_tid != pid {
      out.append(",\"old_tid\":")
      out.append(number: body.old_tid)
    }
    let flags = body.exec_flags
    if flags & MT_EXEC_DELETED.rawValue != 0 { out.append(",\"deleted\":true") }
    if flags & MT_EXEC_MEMFD.rawValue != 0 { out.append(",\"memfd\":true") }
    if flags & MT_EXEC_TMPFS.rawValue != 0 { out.append(",\"tmpfs\":true") }
    if flags & MT_EXEC_CHROOT.rawValue != 0 { out.append(",\"chroot\":true") }
    if flags & MT_EXEC_OTHER_MNTNS.rawValue != 0 { out.append(",\"other_mount_namespace\":true") }
  }

  func writeExit(_ record: RecordView, to out: inout Line) {
    let body = record.exit
    out.append(",\"process\":{\"pid\":")
    out.append(number: record.tgid)
    let signal = body.status & 0x7f
    if signal == 0 {
      out.append("},\"exit_code\":")
      out.append(number: (body.status &>> 8) & 0xff)
    } else {
      out.append("},\"signal\":")
      out.append(number: signal)
      if body.status & 0x80 != 0 { out.append(",\"core_dumped\":true") }
    }
    out.append(",\"user_ns\":")
    out.append(number: body.user_ns)
    out.append(",\"system_ns\":")
    out.append(number: body.system_ns)
    out.append(",\"bytes_read\":")
    out.append(number: body.read_bytes)
    out.append(",\"bytes_written\":")
    out.append(number: body.written_bytes)
    out.append(",\"peak_rss\":")
    out.append(number: body.peak_rss)
    out.append(",\"threads\":")
    out.append(number: body.threads)
    out.append(",\"failed_opens\":")
    out.append(number: body.failed_opens)
  }

  // MARK: - Network

  mutating func writeSocket(_ record: RecordView, to out: inout Line) {
    let body = record.sock
    let isTCP = body.protocol == 6
    if record.type == .tcpClose || record.type == .flowOpen { writeCourse(body, isTCP, to: &out) }
    out.append(
      body.inbound != 0
        ? ",\"connection_info\":{\"direction_id\":1,\"protocol_num\":"
        : ",\"connection_info\":{\"direction_id\":2,\"protocol_num\":")
    out.append(number: UInt32(body.protocol))
    out.append(",\"uid\":\"")
    out.append(number: body.sock)
    if body.family == 2 || body.family == 10 {
      // AF_INET and AF_INET6: nothing else has an address in the record.
      out.append("\"},\"src_endpoint\":{\"ip\":\"")
      localAddress.write(body.family, body.local, to: &out)
      out.append("\",\"port\":")
      out.append(number: UInt32(body.local_port))
      out.append("},\"dst_endpoint\":{\"ip\":\"")
      remoteAddress.write(body.family, body.remote, to: &out)
      out.append("\",\"port\":")
      out.append(number: UInt32(body.remote_port))
      out.append(UInt8(ascii: "}"))
    } else {
      out.append("\"}")
    }
    if !isTCP, body.protocol != 17 {
      out.append(",\"family\":")
      out.append(number: UInt32(body.family))
      out.append(",\"type\":")
      out.append(number: body.type)
    }
    if body.error != 0 {
      out.append(",\"status_code\":\"")
      out.append(number: body.error)
      out.append(UInt8(ascii: "\""))
    }
  }

  /// What became of a connection so far: beside the time, as it differs from one to the next as that does.
  private func writeCourse(_ body: mt_sock, _ isTCP: Bool, to out: inout Line) {
    out.append(",\"duration_ns\":")
    out.append(number: body.duration)
    if body.handshake != 0 {
      out.append(",\"handshake_ns\":")
      out.append(number: body.handshake)
    }
    if isTCP {
      out.append(",\"traffic\":{\"bytes_out\":")
      out.append(number: body.sent)
      out.append(",\"bytes_in\":")
      out.append(number: body.received)
      out.append(body.established != 0 ? "}" : "},\"established\":false")
    }
  }

  func writeUnix(_ record: RecordView, _ applied: borrowing Applied, to out: inout Line) {
    let body = record.unix
    if applied.directory.count &+ applied.name.count > 0 {
      out.append(",\"file\":{")
      writePath(applied, to: &out)
      out.append(",\"type_id\":5}")
    }
    out.append(",\"connection_info\":{\"uid\":\"")
    out.append(number: body.sock)
    out.append(UInt8(ascii: "\""))
    if body.peer != 0 { writeSocketID(",\"peer\":\"", body.peer, to: &out) }
    out.append(record.type == .unixAccept ? ",\"direction_id\":1},\"ino\":" : ",\"direction_id\":2},\"ino\":")
    out.append(number: body.ino)
    if body.fd >= 0 {
      out.append(",\"fd\":")
      out.append(number: body.fd)
    }
    out.append(",\"type\":")
    out.append(number: body.type)
  }
}
