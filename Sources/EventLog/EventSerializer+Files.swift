internal import Jobs
internal import KernelABI
internal import Observation

// S_IFMT of sys/stat.h; without Glibc there is no name for it.
private let typeMask: UInt32 = 0o170000

extension EventSerializer {
  /// `,"file":{"path":…` and the file's identity, up to the closing brace.
  @inline(__always)
  private func writeFile(_ applied: borrowing Applied, size: UInt64?, mode: UInt32, to out: inout Line) {
    out.append(",\"file\":{")
    let hasPath = applied.directory.count &+ applied.name.count > 0
    if hasPath {
      writePath(applied, to: &out)
    }
    let hasIdentity = applied.inode != 0
    if hasIdentity {
      if hasPath { out.append(UInt8(ascii: ",")) }
      out.append("\"uid\":\"")
      writeIdentity(applied.device, applied.inode, to: &out)
    }
    if hasPath || hasIdentity {
      if let size {
        out.append(",\"size\":")
        out.append(number: size)
      }
      writeType(mode, to: &out)
    }
    out.append(UInt8(ascii: "}"))
  }

  /// `device-inode"`, in decimal.
  @inline(__always)
  func writeIdentity(_ device: UInt32, _ inode: UInt64, to out: inout Line) {
    out.append(number: device)
    out.append(UInt8(ascii: "-"))
    out.append(number: inode)
    out.append(UInt8(ascii: "\""))
  }

  /// The inode's generation is a random number on most file systems, ten digits that no compressor can shorten:
  /// it is written where a file is made, changed or run, not for each time that one is read.
  @inline(__always)
  func writeGeneration(_ generation: UInt32, to out: inout Line) {
    out.append(",\"generation\":")
    out.append(number: generation)
  }

  /// OCSF's `type_id` of a file, for what is not a regular one.
  @inline(__always)
  private func writeType(_ mode: UInt32, to out: inout Line) {
    let type = mode & typeMask
    if type == 0o100000 || type == 0 { return }
    switch type {
    case 0o040000: out.append(",\"type_id\":2")
    case 0o020000: out.append(",\"type_id\":3")
    case 0o060000: out.append(",\"type_id\":4")
    case 0o140000: out.append(",\"type_id\":5")
    case 0o010000: out.append(",\"type_id\":6")
    case 0o120000: out.append(",\"type_id\":7")
    default: out.append(",\"type_id\":99")
    }
  }

  private func writeResult(_ applied: borrowing Applied, to out: inout Line) {
    if applied.directory2.count &+ applied.name2.count == 0 { return }
    out.append(",\"file_result\":{")
    writePath(applied, second: true, to: &out)
    out.append(UInt8(ascii: "}"))
  }

  @inline(__always)
  /// The hooks on what the kernel does know of files, and not always under which number a process has them.
  private func writeDescriptor(_ descriptor: Int32, as name: StaticString = ",\"fd\":", to out: inout Line) {
    if descriptor < 0 { return }
    out.append(name)
    out.append(number: descriptor)
  }

  func writeAccess(_ record: RecordView, to out: inout Line) {
    let body = record.open
    out.append(",\"access_mask\":")
    out.append(number: body.open_flags)
    writeDescriptor(body.fd, to: &out)
  }

  func writeOpen(_ record: RecordView, _ applied: borrowing Applied, to out: inout Line) {
    let body = record.open
    writeFile(applied, size: body.file.mode & typeMask == 0o100000 ? body.size : nil, mode: body.file.mode, to: &out)
    if body.fmode & MT_FMODE_WRITE != 0 { writeGeneration(body.file.generation, to: &out) }
    if body.how != 0 {
      let how: StaticString =
        switch UInt32(body.how) {
        case MT_OPEN_INHERITED.rawValue: ",\"how\":\"inherited\",\"fmode\":"
        case MT_OPEN_SCM_RIGHTS.rawValue: ",\"how\":\"scm_rights\",\"fmode\":"
        case MT_OPEN_PIDFD.rawValue: ",\"how\":\"pidfd_getfd\",\"fmode\":"
        default: ",\"how\":\"unknown\",\"fmode\":"
        }
      out.append(how)
      out.append(number: body.fmode & (MT_FMODE_READ | MT_FMODE_WRITE))
    }
    if body.deleted != 0 { out.append(",\"deleted\":true") }
    if body.sock != 0 { writeSocketID(",\"socket\":\"", body.sock, to: &out) }
    if body.peer != 0 { writeSocketID(",\"peer\":\"", body.peer, to: &out) }
  }

  /// A socket's or open file's id is opaque and takes all of 64 bits: text, so that no reader rounds it.
  func writeSocketID(_ key: StaticString, _ id: UInt64, to out: inout Line) {
    out.append(key)
    out.append(number: id)
    out.append(UInt8(ascii: "\""))
  }

  func writeClose(_ record: RecordView, _ applied: borrowing Applied, to out: inout Line) {
    let body = record.close
    writeFile(applied, size: body.has_state != 0 ? body.size : nil, mode: body.file.mode, to: &out)
    writeGeneration(body.file.generation, to: &out)
    writeDescriptor(body.fd, to: &out)
    if body.has_state != 0 {
      out.append(",\"ctime_ns\":")
      out.append(number: body.ctime)
      out.append(",\"mtime_ns\":")
      out.append(number: body.mtime)
    }
    switch UInt32(body.why) {
    case MT_CLOSE_REPLACED.rawValue: out.append(",\"why\":\"replaced\"")
    case MT_CLOSE_EXEC.rawValue: out.append(",\"why\":\"exec\"")
    case MT_CLOSE_EXIT.rawValue: out.append(",\"why\":\"exit\"")
    default: break
    }
  }

  func writeIO(_ record: RecordView, _ applied: borrowing Applied, to out: inout Line) {
    let body = record.io
    writeFile(applied, size: nil, mode: body.file.mode, to: &out)
    writeGeneration(body.file.generation, to: &out)
    // What all lines of one open file have in common.
    writeSocketID(",\"open_file\":\"", body.open_file, to: &out)
    if body.why != MT_IO_UNKNOWN.rawValue {
      out.append(",\"bytes_read\":")
      out.append(number: body.read)
      out.append(",\"bytes_written\":")
      out.append(number: body.written)
    }
    switch body.why {
    case MT_IO_CLOSED.rawValue: out.append(",\"why\":\"closed\"")
    case MT_IO_SHARED.rawValue: out.append(",\"why\":\"shared\"")
    case MT_IO_OPEN.rawValue: out.append(",\"why\":\"open\"")
    default: out.append(",\"why\":\"unknown\"")
    }
  }

  func writeDigest(_ record: RecordView, _ applied: borrowing Applied, to out: inout Line) {
    let body = record.digest
    out.append(",\"file\":{")
    if applied.directory.count &+ applied.name.count > 0 {
      writePath(applied, to: &out)
      out.append(",")
    }
    out.append("\"uid\":\"")
    writeIdentity(body.file.dev, body.file.ino, to: &out)
    out.append(",\"size\":")
    out.append(number: body.size)
    if body.absence == nil {
      // OCSF's number of SHA-256.
      out.append(",\"hashes\":[{\"algorithm_id\":3,\"value\":\"")
      withUnsafeBytes(of: body.sha256) { out.append(hexOf: $0) }
      out.append("\"}]")
    }
    out.append("}")
    writeGeneration(body.file.generation, to: &out)
    out.append(",\"ctime_ns\":")
    out.append(number: body.ctime)
    out.append(body.of == UInt16(MT_DIGEST_WRITTEN.rawValue) ? ",\"of\":\"written\"" : ",\"of\":\"image\"")
    if body.how == UInt16(MT_DIGEST_KERNEL.rawValue) {
      out.append(",\"how\":\"kernel\",\"algorithm\":")
      out.append(number: Int32(body.algorithm))
    } else {
      out.append(",\"how\":\"userSpace\"")
    }
    if let absence = body.absence {
      out.append(",\"absent\":\"")
      out.append(absence.name)
      out.append("\"")
    }
  }

  func writeDup(_ record: RecordView, _ applied: borrowing Applied, to out: inout Line) {
    let body = record.dup
    writeFile(applied, size: nil, mode: body.file.mode, to: &out)
    writeDescriptor(body.old_fd, to: &out)
    writeDescriptor(body.new_fd, as: ",\"new_fd\":", to: &out)
  }

  func writePathOperation(_ record: RecordView, _ applied: borrowing Applied, to out: inout Line) {
    let body = record.pathOp
    writeFile(applied, size: nil, mode: body.file.mode, to: &out)
    writeResult(applied, to: &out)
    writeDescriptor(body.fd, to: &out)
    switch record.type {
    case .truncate:
      out.append(",\"length\":")
      out.append(number: body.argument)
    case .chmod, .mkdir, .mknod:
      out.append(",\"mode\":")
      out.append(number: body.argument)
    case .chown:
      out.append(",\"user\":")
      out.append(number: body.argument &>> 32)
      out.append(",\"group\":")
      out.append(number: body.argument & 0xffff_ffff)
    default: break
    }
    if body.call_flags != 0 {
      out.append(",\"call_flags\":")
      out.append(number: body.call_flags)
    }
  }

  func writeMapping(_ record: RecordView, _ applied: borrowing Applied, to out: inout Line) {
    let body = record.mmap
    writeFile(applied, size: nil, mode: body.file.mode, to: &out)
    // A hook that does not see it leaves 0, which no mapping has.
    if body.length != 0 {
      out.append(",\"length\":")
      out.append(number: body.length)
    }
    out.append(",\"prot\":")
    out.append(number: body.prot)
    out.append(",\"map_flags\":")
    out.append(number: body.map_flags)
  }

  func writeCopy(_ record: RecordView, to out: inout Line) {
    let body = record.copy
    out.append(",\"file\":{\"uid\":\"")
    writeIdentity(body.from.dev, body.from.ino, to: &out)
    writeType(body.from.mode, to: &out)
    out.append("},\"file_result\":{\"uid\":\"")
    writeIdentity(body.to.dev, body.to.ino, to: &out)
    writeType(body.to.mode, to: &out)
    out.append("}")
    writeDescriptor(body.from_fd, to: &out)
    writeDescriptor(body.to_fd, as: ",\"new_fd\":", to: &out)
    let kind: StaticString =
      switch body.kind {
      case MT_COPY_SENDFILE.rawValue: ",\"how\":\"sendfile\",\"bytes\":"
      case MT_COPY_SPLICE.rawValue: ",\"how\":\"splice\",\"bytes\":"
      case MT_COPY_TEE.rawValue: ",\"how\":\"tee\",\"bytes\":"
      case MT_COPY_RANGE.rawValue: ",\"how\":\"copy_file_range\",\"bytes\":"
      case MT_COPY_REFLINK.rawValue: ",\"how\":\"reflink\",\"bytes\":"
      default: ",\"how\":\"unknown\",\"bytes\":"
      }
    out.append(kind)
    out.append(number: body.bytes)
  }

  func writePair(_ record: RecordView, to out: inout Line) {
    let body = record.pair
    out.append(",\"ino\":")
    out.append(number: body.a_ino)
    if body.b_ino != body.a_ino {
      out.append(",\"peer_ino\":")
      out.append(number: body.b_ino)
    }
    writeDescriptor(body.a_fd, to: &out)
    writeDescriptor(body.b_fd, as: ",\"new_fd\":", to: &out)
    if body.a_sock != 0 { writeSocketID(",\"socket\":\"", body.a_sock, to: &out) }
    if body.b_sock != 0 { writeSocketID(",\"peer\":\"", body.b_sock, to: &out) }
    if body.family != 0 {
      out.append(",\"family\":")
      out.append(number: body.family)
    }
  }

  func writeURing(_ record: RecordView, _ applied: borrowing Applied, to out: inout Line) {
    let body = record.uring
    writeFile(applied, size: nil, mode: 0, to: &out)
    writeResult(applied, to: &out)
    out.append(",\"opcode\":")
    out.append(number: body.opcode)
    out.append(",\"access_mask\":")
    out.append(number: body.open_flags)
    out.append(",\"argument\":")
    out.append(number: body.argument)
  }
}
