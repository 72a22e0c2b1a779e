import CLibbpf

extension LoadedObjects {
  /// Gives every link a name in a BPF file system, by which it lives on when this process has ended; and some maps, for others
  /// to look at.
  ///
  /// - Throws: if a link of its kind can have none on this kernel
  func pin(in directory: String, maps names: [String]) throws(SensorError) {
    for (program, link) in links where !isIterator(program) { try pin(program, link, in: directory) }
    for name in names {
      guard let map = maps[name] else { continue }
      let result = bpf_obj_pin(map, "\(directory)/map_\(name)")
      if result != 0 { throw PinnedSensor.failed("keep the map \(name)", -result) }
    }
    pinnedIn = directory
  }

  private func isIterator(_ program: String) -> Bool {
    programs.contains { $0.name.name == program && $0.name.isIterator }
  }

  func pin(_ program: String, _ link: OpaquePointer, in directory: String) throws(SensorError) {
    let result = bpf_link__pin(link, "\(directory)/link_\(program)")
    if result == 0 { return }
    let before = result == -22 ? ": before Linux 5.15 kprobes go with who attached them" : ""
    throw PinnedSensor.failed("keep the program \(program) attached\(before)", -result)
  }
}
