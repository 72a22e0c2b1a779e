internal import KernelABI
internal import Observation

/// An address and the name that it was last given by.
struct HostEntry: BitwiseCopyable {
  var address = Address()
  var name = Arena.Reference()
}

extension Fold {
  /// IPv4 as ::ffff:a.b.c.d: an address of both kinds of sockets.
  static func peerAddress(_ family: UInt16, _ address: Address) -> Address {
    // AF_INET
    guard family == 2 else { return address }
    return Address(high: 0, low: UInt64(bigEndian: 0xffff_0000_0000) | address.high << 32)
  }

  private func findHost(_ address: Address) -> UInt32 {
    let all = hosts.all
    return hostIndex.find(hash(address.high, address.low)) { all[Int($0)].address == address }
  }

  /// What a resolver last called an address; empty: nothing was heard.
  func hostName(_ address: Address) -> Arena.Reference { hosts[findHost(address)].pointee.name }

  mutating func applyAnswer(_ record: RecordView) {
    guard let message = record.string(.bytes), let answer = DNSAnswer(message) else { return }
    withUnsafeTemporaryAllocation(byteCount: DNSAnswer.nameLimit, alignment: 1) { buffer in
      answer.writeName(to: buffer)
      let name = Bytes(rebasing: buffer[..<answer.nameLength])
      // Kept once for all addresses of the answer.
      var kept = Arena.Reference()
      answer.forEachAddress { bytes, isV6 in
        var address = Address()
        withUnsafeMutableBytes(of: &address) { $0.copyMemory(from: bytes) }
        if !isV6 { address = Self.peerAddress(2, address) }
        let known = findHost(address)
        if known != 0 {
          if equal(arena[hosts[known].pointee.name], name) { return }
          if kept.isEmpty { kept = keep(name) }
          hosts[known].pointee.name = kept
          return
        }
        guard hosts.count < options.limits.hosts, hasRoom() else {
          notKept.hosts &+= 1
          return
        }
        if kept.isEmpty { kept = keep(name) }
        hostIndex.insert(hash(address.high, address.low), hosts.append(HostEntry(address: address, name: kept)))
      }
    }
  }
}
