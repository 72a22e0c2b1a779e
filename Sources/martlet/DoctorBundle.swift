import Export
import Glibc
import KernelSensor
import Observation

/// What `martlet doctor --bundle` packs for a bug report.
enum DoctorBundle {
  private struct Failure: Error, CustomStringConvertible { var description: String }

  /// - Throws: if there is such a file already, or it cannot be written
  static func write(_ diagnosis: Diagnosis, to path: String) throws {
    var archive = TarArchive(time: UInt64(max(0, time(nil))))
    for (name, content) in files(diagnosis) {
      guard archive.add("martlet-doctor/\(name)", content) else {
        throw Failure(description: "\(name) does not fit into a tar archive")
      }
    }
    // Never one that is there, nor where a link leads: this is root, and the directory may be anybody's.
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw Failure(description: "\(path): \(String(cString: strerror(errno)))") }
    defer { close(descriptor) }
    guard archive.bytes.withUnsafeBytes({ Message.write($0, to: descriptor) }) else {
      let error = String(cString: strerror(errno))
      unlink(path)
      throw Failure(description: "\(path): \(error)")
    }
  }

  private static func files(_ diagnosis: Diagnosis) -> [(name: String, content: [UInt8])] {
    let kernel = KernelName()
    // Not uname(2)'s nodename, which is the host's.
    let name = "Linux \(kernel.release) \(kernel.build) \(kernel.machine)\n"
    let configuration = KernelConfiguration.lines(release: kernel.release)
    var files: [(String, [UInt8])] = [
      ("doctor.json", DoctorReport.json(diagnosis)), ("doctor.txt", DoctorReport.text(diagnosis)),
      ("uname.txt", Array(name.utf8)),
      (
        "kernel-config.txt",
        Array(((configuration ?? ["not to be read on this machine"]).joined(separator: "\n") + "\n").utf8)
      ),
    ]
    for program in diagnosis.programs where !program.log.isEmpty {
      files.append(("verifier/\(program.hook.program).txt", Array("\(program.reason)\n\n\(program.log)\n".utf8)))
    }
    if let error = diagnosis.error, !error.detail.isEmpty {
      files.append(("error.txt", Array("\(error)\n\n\(error.detail)\n".utf8)))
    }
    return files
  }
}
