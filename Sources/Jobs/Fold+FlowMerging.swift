internal import Observation

/// Room for more flows in a full table.
struct FlowMerging: BitwiseCopyable {
  /// The first entry that is free, which leads to the next by its `image`.
  var free: UInt32 = 0
  /// Flows that were taken together with an equal one.
  var merged: UInt64 = 0
  /// So many flows are asked for until it is looked again for equal ones: a look takes as long as the table is large.
  var untilNextLook = 0
  /// Of the unix socket before: most jobs speak to one over and over.
  var path = Arena.Reference()
  /// Whom the connection before named.
  var named = Arena.Reference()
}

/// Equal flows as one, when the table is full: a report tells them as one anyway, and the event log has a line for each.
///
/// What stays is what a report is made from: numbers, bytes and durations added up, the first beginning and the last
/// end; and of the ways between two processes of the job at least one connection with both of its ends.
extension Fold {
  /// How long a flow must have been over: the other end of a connection in the job may still be to come.
  private static let settledNanoseconds: UInt64 = 100_000_000

  /// What makes flows equal. The own port, and of who connected to the job the port there, say nothing.
  private struct Group: BitwiseCopyable {
    var remote: Address
    var image: UInt32
    /// The image at the other end, if that is in the job.
    var peer: UInt32
    var error: Int32
    var remotePort: UInt16
    var localPort: UInt16
    var protocolNumber: UInt16
    var family: UInt16
    var flags: UInt16
    var state: UInt8
  }

  private func group(_ flow: UInt32, peer: UInt32) -> Group {
    let entry = flows[flow].pointee
    let isInbound = entry.flags & FlowEntry.isInbound != 0
    return Group(
      remote: entry.remote, image: entry.image, peer: peer, error: entry.error,
      remotePort: isInbound ? 0 : entry.remotePort, localPort: isInbound ? entry.localPort : 0,
      protocolNumber: entry.protocolNumber, family: entry.family, flags: entry.flags, state: entry.state)
  }

  private func hashed(_ group: Group, _ path: Bytes) -> UInt64 {
    let ends = hash(hash(group.remote.high, group.remote.low), UInt64(group.image) &<< 32 | UInt64(group.peer))
    let ports = UInt64(group.remotePort) &<< 16 | UInt64(group.localPort)
    let kind = UInt64(group.protocolNumber) &<< 16 | UInt64(group.flags)
    let outcome = UInt64(UInt32(bitPattern: group.error)) &<< 8 | UInt64(group.state)
    return hash(hash(ends, ports &<< 32 | kind), hash(outcome, hash(UInt32(group.family), path)))
  }

  private func isEqual(_ a: Group, _ b: Group) -> Bool {
    a.remote == b.remote && a.image == b.image && a.peer == b.peer && a.error == b.error
      && a.remotePort == b.remotePort && a.localPort == b.localPort && a.protocolNumber == b.protocolNumber
      && a.family == b.family && a.flags == b.flags && a.state == b.state
  }

  /// A place in the full table, by taking equal flows together; 0: there is none.
  @inline(never)
  mutating func placeOfMerged() -> UInt32 {
    if merging.untilNextLook > 0 { merging.untilNextLook &-= 1 }
    if merging.free == 0, merging.untilNextLook == 0 {
      mergeFlows()
      merging.untilNextLook = options.limits.flows / 16
    }
    let place = merging.free
    if place != 0 { merging.free = flows[place].pointee.image }
    return place
  }

  private mutating func mergeFlows() {
    let others = otherEnds()
    let peers = others.map { flows[$0].pointee.image }
    var groups = HashIndex()
    // Those whose other end stands for many are not taken together with others themselves.
    var stays = [Bool](repeating: false, count: flows.count + 1)
    // Who connected first: what was accepted is grouped around the other ends of these.
    for isInbound in [false, true] {
      for isKept in [true, false] {
        for flow in flows.indices where stays[Int(flow)] == isKept {
          let flags = flows[flow].pointee.flags
          guard flags & FlowEntry.isFree == 0, (flags & FlowEntry.isInbound != 0) == isInbound, isOver(flow) else {
            continue
          }
          let own = group(flow, peer: peers[Int(flow)])
          let path = arena[flows[flow].pointee.path]
          let named = arena[flows[flow].pointee.named]
          let key = hash(hashed(own, path), hash(0, named))
          let first = groups.find(key) {
            isEqual(own, group($0, peer: peers[Int($0)])) && equal(path, arena[flows[$0].pointee.path])
              && equal(named, arena[flows[$0].pointee.named])
          }
          if first == 0 {
            groups.insert(key, flow)
            stays[Int(others[Int(flow)])] = true
          } else if !isKept {
            merge(flow, into: first)
          }
        }
      }
    }
  }

  /// Nothing more will be told of it.
  private func isOver(_ flow: UInt32) -> Bool {
    let entry = flows[flow].pointee
    if entry.flags & FlowEntry.isListener != 0 || end(of: entry) &+ Self.settledNanoseconds > lastTime { return false }
    switch FlowSummary.State(code: entry.state) {
    case .closed, .failed: break
    // Nobody tells the end of these. A datagram that such a socket still sends counts as another flow.
    case .established where entry.flags & FlowEntry.isUnix != 0 || entry.protocolNumber == 17: break
    case .established, .requested, .bound, .listening: return false
    }
    return !hasRequests(flow)
  }

  private func end(of entry: FlowEntry) -> UInt64 {
    entry.lastAt != 0 ? entry.lastAt : entry.startedAt &+ entry.duration
  }

  private mutating func merge(_ flow: UInt32, into first: UInt32) {
    for one in [flow, first] where findFlow(flows[one].pointee.sock) == one {
      flowIndex.remove(hash(flows[one].pointee.sock), one)
    }
    let entry = flows[flow].pointee
    let sum = flows[first]
    sum.pointee.lastAt = max(end(of: sum.pointee), end(of: entry))
    sum.pointee.startedAt = min(sum.pointee.startedAt, entry.startedAt)
    sum.pointee.repeats &+= 1 &+ entry.repeats
    sum.pointee.sent &+= entry.sent
    sum.pointee.received &+= entry.received
    sum.pointee.duration &+= entry.duration
    merging.merged &+= 1
    flows[flow].pointee = FlowEntry(image: merging.free, flags: FlowEntry.isFree)
    merging.free = flow
  }

  /// For each flow the other end of its connection, if that is a flow of the job too; else 0.
  private func otherEnds() -> [UInt32] {
    var ends = HashIndex(minimumCapacity: flows.count)
    for flow in flows.indices where flows[flow].pointee.flags & (FlowEntry.isFree | FlowEntry.isUnix) == 0 {
      let own = end(flow)
      let key = hashed(own)
      // Of two with the same addresses and ports, one after the other, either does.
      if ends.find(key, { end($0) == own }) == 0 { ends.insert(key, flow) }
    }
    var out = [UInt32](repeating: 0, count: flows.count + 1)
    for flow in flows.indices where flows[flow].pointee.flags & (FlowEntry.isFree | FlowEntry.isUnix) == 0 {
      let other = end(flow).mirrored
      if other.localPort != 0 { out[Int(flow)] = ends.find(hashed(other)) { end($0) == other } }
    }
    return out
  }

  private func hashed(_ end: FlowEnd) -> UInt64 {
    let addresses = hash(hash(end.local.high, end.local.low), hash(end.remote.high, end.remote.low))
    let ports = UInt64(end.localPort) &<< 16 | UInt64(end.remotePort)
    return hash(addresses, ports &<< 32 | UInt64(end.family) &<< 16 | UInt64(end.protocolNumber))
  }
}
