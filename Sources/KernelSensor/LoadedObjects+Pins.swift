import CLibbpf
import Glibc

extension LoadedObjects {
  /// Gives every link a name in a BPF file system, by which it lives on when this process has ended; and some maps, for others
  /// to look at.
  ///
  /// - Returns: programs whose links can have none on this kernel: those of kprobes, before Linux 5.15
  func pin(in directory: String, maps names: [String]) throws(SensorError) -> [String] {
    var unpinned: [String] = []
    for (program, link) in links where !isIterator(program) {
      if try !pin(program, link, in: directory) { unpinned.append(program) }
    }
    for name in names {
      guard let map = maps[name] else { continue }
      let result = bpf_obj_pin(map, "\(directory)/map_\(name)")
      if result != 0 { throw PinnedSensor.failed("keep the map \(name)", -result) }
    }
    pinnedIn = directory
    return unpinned
  }

  private func isIterator(_ program: String) -> Bool {
    programs.contains { $0.name.name == program && $0.name.isIterator }
  }

  /// - Returns: false if its kind can have no name
  func pin(_ program: String, _ link: OpaquePointer, in directory: String) throws(SensorError) -> Bool {
    let result = bpf_link__pin(link, "\(directory)/link_\(program)")
    if result == 0 { return true }
    let isKprobe = programs.contains { $0.name.name == program && $0.name.kind == "kprobe" }
    guard isKprobe, result == -EINVAL else {
      throw PinnedSensor.failed("keep the program \(program) attached", -result)
    }
    return false
  }
}
