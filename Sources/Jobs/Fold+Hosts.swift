internal import KernelABI
internal import Observation

/// An address and the name that it was last given by.
struct HostEntry: BitwiseCopyable {
  var address = Address()
  var name = Arena.Reference()
}

/// A name that was asked for, and was answered, be it with nothing.
struct AskedEntry: BitwiseCopyable {
  var name = Arena.Reference()
  /// The last of its addresses.
  var address: UInt32 = 0
}

struct AskedAddressEntry: BitwiseCopyable {
  var address = Address()
  /// Of the same name, earlier.
  var next: UInt32 = 0
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
      let asked = findOrAddAsked(name)
      // Kept once for all addresses of the answer.
      var kept = self.asked[asked].pointee.name
      answer.forEachAddress { bytes, isV6 in
        var address = Address()
        withUnsafeMutableBytes(of: &address) { $0.copyMemory(from: bytes) }
        if !isV6 { address = Self.peerAddress(2, address) }
        if asked != 0 { add(address, to: asked) }
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

  /// 0: there is no room.
  private mutating func findOrAddAsked(_ name: Bytes) -> UInt32 {
    let hashed = hash(0, name)
    let all = asked.all
    let known = askedIndex.find(hashed) { equal(arena[all[Int($0)].name], name) }
    if known != 0 { return known }
    guard asked.count < options.limits.hosts, hasRoom() else {
      notKept.hosts &+= 1
      return 0
    }
    let added = asked.append(AskedEntry(name: keep(name)))
    askedIndex.insert(hashed, added)
    return added
  }

  private mutating func add(_ address: Address, to name: UInt32) {
    var current = asked[name].pointee.address
    while current != 0 {
      let entry = askedAddresses[current].pointee
      if entry.address == address { return }
      current = entry.next
    }
    guard askedAddresses.count < options.limits.hosts, hasRoom() else {
      notKept.hosts &+= 1
      return
    }
    let next = asked[name].pointee.address
    asked[name].pointee.address = askedAddresses.append(AskedAddressEntry(address: address, next: next))
  }

  func summary(ofAsked name: UInt32) -> AskedName {
    var out = AskedName(name: Name(bytes: Array(arena[asked[name].pointee.name])))
    var current = asked[name].pointee.address
    while current != 0 {
      let entry = askedAddresses[current].pointee
      out.addresses.append(Self.peerText(entry.address))
      current = entry.next
    }
    out.addresses.reverse()
    return out
  }
}
