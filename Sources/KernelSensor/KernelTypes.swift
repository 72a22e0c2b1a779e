import CLibbpf
import Glibc

/// The kernel's own types, from `/sys/kernel/btf/vmlinux`.
struct KernelTypes: ~Copyable {
  private let btf: OpaquePointer
  /// BTF_KIND_TYPEDEF and BTF_KIND_FUNC of linux/btf.h, which libbpf's header defines once more.
  private static let typedefKind: UInt32 = 8
  private static let functionKind: UInt32 = 12

  init() throws(SensorError) {
    LibbpfLog.start()
    guard let btf = btf__load_vmlinux_btf() else { throw .noBTF(errno: errno) }
    self.btf = btf
  }

  deinit { btf__free(btf) }

  /// The id of a function, or of a typedef.
  borrowing func id(of name: String, isTypedef: Bool) -> UInt32? {
    let id = btf__find_by_name_kind(btf, name, isTypedef ? Self.typedefKind : Self.functionKind)
    return id > 0 ? UInt32(id) : nil
  }

  /// What speaks against a program on a function or a tracepoint, whose typedef is `btf_trace_NAME`; nil if nothing does.
  ///
  /// - Parameter prefix: of a tracepoint, what its signature must begin with
  borrowing func objection(to name: String, isTypedef: Bool = true, wanting prefix: String?) -> String? {
    guard let id = id(of: name, isTypedef: isTypedef) else { return "this kernel does not have it" }
    guard let prefix else { return nil }
    guard let signature = signature(id), signature.hasPrefix(prefix) else {
      return "this kernel gives it other arguments"
    }
    return nil
  }

  /// The parameters of a function or of a tracepoint's function, one letter each: "p" for a pointer, "o" for a function's to
  /// what the types do not describe, which no program may look through, "i" for a number, and "." at the end. A tracepoint's
  /// first is its own pointer, which programs do not see.
  private borrowing func signature(_ type: UInt32) -> String? {
    guard let function = btf__type_by_id(btf, type), let first = btf__type_by_id(btf, function.pointee.type) else {
      return nil
    }
    // A typedef is of a pointer to what a function has itself.
    guard let prototype = btf_is_ptr(first) ? btf__type_by_id(btf, first.pointee.type) : first,
      btf_is_func_proto(prototype), let parameters = btf_params(prototype)
    else { return nil }
    var text = ""
    for index in 0..<Int(btf_vlen(prototype)) {
      let type = btf__resolve_type(btf, parameters[index].type)
      guard type >= 0, let resolved = btf__type_by_id(btf, UInt32(type)) else { return nil }
      let isOpaque = first == prototype && btf_is_ptr(resolved) && !isDescribed(resolved.pointee.type)
      text += isOpaque ? "o" : btf_is_ptr(resolved) ? "p" : "i"
    }
    return text + "."
  }

  /// Whether it is more than a name.
  private borrowing func isDescribed(_ type: UInt32) -> Bool {
    let resolved = btf__resolve_type(btf, type)
    return resolved >= 0 && btf__type_by_id(btf, UInt32(resolved)).map { !btf_is_fwd($0) } ?? false
  }
}
