/// What a daemon and who asks it say, in pieces: whatever it is, it is understood or passed over, what is learnt has the
/// form that it should, and a container's name does not depend on what stands around it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = Array(UnsafeBufferPointer(start: data, count: count))
  let parts = input.split(separator: 0xff, omittingEmptySubsequences: false)
  var conversation = DaemonConversation()
  for (index, part) in parts.enumerated() {
    if index % 3 == 0 {
      conversation.take(request: part)
      if let name = conversation.name { require(!name.isEmpty && name.utf8.count <= 128, "name") }
      continue
    }
    for news in conversation.take(answer: part, isCut: index % 3 == 2) {
      switch news {
      case .created(let id): require(id.utf8.count == 64 && ContainerName.isIdentifier(Array(id.utf8)), "id")
      case .runs(let digits): require(digits.utf8.count == 12, "digits")
      case .step(let step):
        require(step.digest.utf8.count == 71 && step.inputs.allSatisfy { $0.utf8.count == 71 }, "digest")
        // What is executed as it is said matches that, but for what only looks like an option or a list.
        let command = Array(step.command.utf8)
        if command.first != UInt8(ascii: "-"), command.first != UInt8(ascii: "[") {
          require(BuildCommand([[], Array("-c".utf8), command]).matches(step.command), "its own command")
        }
      }
    }
  }
  if let name = ContainerName(cgroup: input) { require(ContainerName.isIdentifier(Array(name.id.utf8)), "name") }
  for said in parts.prefix(4) {
    _ = BuildCommand(parts.map(Array.init)) { $0.isEmpty ? nil : Array($0.utf8) }.matches(
      String(decoding: said, as: UTF8.self))
  }
  return 0
}
