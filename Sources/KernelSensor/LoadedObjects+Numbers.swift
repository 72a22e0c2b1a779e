import CLibbpf
import Glibc
import KernelABI

extension LoadedObjects {
  /// What is loaded, attached and made, as the kernel numbers it.
  func numbers() throws(SensorError) -> [mt_bpf_object] {
    var numbers: [mt_bpf_object] = []
    for program in programs {
      let id = try bpf_prog_info.of(bpf_program__fd(program.handle)).info.id
      numbers.append(mt_bpf_object(kind: MT_OBJECT_PROGRAM.rawValue, id: id))
    }
    for object in objects {
      var next = bpf_object__next_map(object.handle, nil)
      while let map = next {
        next = bpf_object__next_map(object.handle, map)
        guard bpf_map__fd(map) >= 0 else { continue }
        numbers.append(mt_bpf_object(kind: MT_OBJECT_MAP.rawValue, id: try Self.number(ofMap: bpf_map__fd(map))))
      }
    }
    for link in links {
      guard let number = try Self.number(of: link.link) else { continue }
      numbers.append(number)
    }
    return numbers
  }

  /// - Returns: nil for a kprobe before Linux 5.15, which is an event of perf's there and has no number that leads to it
  static func number(of link: OpaquePointer) throws(SensorError) -> mt_bpf_object? {
    var info = bpf_link_info()
    var size = UInt32(MemoryLayout<bpf_link_info>.size)
    let result = bpf_obj_get_info_by_fd(bpf_link__fd(link), &info, &size)
    if result == -EINVAL { return nil }
    if result != 0 { throw .systemCall("Could not look at a link", errno: -result) }
    return mt_bpf_object(kind: MT_OBJECT_LINK.rawValue, id: info.id)
  }

  private static func number(ofMap map: Int32) throws(SensorError) -> UInt32 { try info(ofMap: map).id }

  static func info(ofMap map: Int32) throws(SensorError) -> bpf_map_info {
    var info = bpf_map_info()
    var size = UInt32(MemoryLayout<bpf_map_info>.size)
    let result = bpf_obj_get_info_by_fd(map, &info, &size)
    if result != 0 { throw .systemCall("Could not look at a map", errno: -result) }
    return info
  }
}
