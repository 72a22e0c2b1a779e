import CLibbpf
import Glibc
import KernelABI

/// Programs that are on their hooks for a part of the time.
extension LoadedObjects {
  /// Attaches a program that is not attached yet, or not any more; nothing happens if it was not chosen.
  func attachLate(_ name: String) throws(SensorError) {
    guard let program = programs.first(where: { $0.name.name == name }), !links.contains(where: { $0.program == name })
    else { return }
    let cgroup = try CgroupRoot()
    guard let link = program.attach(to: cgroup) else {
      throw SensorError(
        .attachFailed, "Could not attach \(name) to \(program.name.section)", errno: errno,
        advice: Sensor.rejectionAdvice)
    }
    links.append((name, link))
    if let map = maps["shield_objects"], let number = try Self.number(of: link) { try Sensor.shield(number, in: map) }
    if let pinnedIn { _ = try pin(name, link, in: pinnedIn) }
  }

  /// Takes a program off its hook, for ``attachLate(_:)`` to put it there again; nothing happens if it is on none.
  func detach(_ name: String) throws(SensorError) {
    guard let place = links.firstIndex(where: { $0.program == name }) else { return }
    let link = links[place].link
    if let map = maps["shield_objects"], let number = try Self.number(of: link) { try Sensor.unshield(number, in: map) }
    links.remove(at: place)
    bpf_link__destroy(link)
  }
}

extension LoadedObjects.Program {
  /// - Parameter cgroup: whose connections it watches, if it is a program of a cgroup's
  /// - Returns: nil if the kernel refuses; errno says why
  func attach(to cgroup: borrowing CgroupRoot) -> OpaquePointer? {
    name.kind == "cgroup"
      ? bpf_program__attach_cgroup(handle, cgroup.descriptor) : bpf_program__attach(handle)
  }
}
