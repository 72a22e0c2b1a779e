internal import KernelABI
internal import Observation

extension FlowSummary.State {
  /// As a flow's entry keeps it.
  var code: UInt8 {
    switch self {
    case .requested: 0
    case .established: 1
    case .failed: 2
    case .closed: 3
    case .bound: 4
    case .listening: 5
    }
  }

  init(code: UInt8) {
    switch code {
    case 1: self = .established
    case 2: self = .failed
    case 3: self = .closed
    case 4: self = .bound
    case 5: self = .listening
    default: self = .requested
    }
  }
}

extension Fold {
  func findFlow(_ sock: UInt64) -> UInt32 {
    let all = flows.all
    return flowIndex.find(hash(sock)) { all[Int($0)].sock == sock }
  }

  private mutating func addFlow(_ sock: UInt64, _ image: UInt32, _ time: UInt64) -> UInt32 {
    if merging.free == 0, flows.count < options.limits.flows, hasRoom() {
      return flows.append(FlowEntry(sock: sock, startedAt: time, image: image))
    }
    let place = placeOfMerged()
    if place == 0 {
      notKept.flows &+= 1
    } else {
      flows[place].pointee = FlowEntry(sock: sock, startedAt: time, image: image)
    }
    return place
  }

  /// Lets a socket's number stand for this flow from now on.
  private mutating func index(_ flow: UInt32) {
    let sock = flows[flow].pointee.sock
    if flow == 0 || sock == 0 { return }
    let old = findFlow(sock)
    if old == flow { return }
    if old != 0 { flowIndex.remove(hash(sock), old) }
    flowIndex.insert(hash(sock), flow)
  }

  static func address(_ bytes: AddressText.Bytes) -> Address {
    withUnsafeBytes(of: bytes) {
      Address(
        high: $0.loadUnaligned(as: UInt64.self), low: $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    }
  }

  // MARK: - TCP, UDP and others

  mutating func applyFlow(_ record: RecordView, _ process: UInt32, _ image: UInt32) {
    let body = record.sock
    // What was accepted is told once: a flow that its number stands for was another socket's.
    let known = body.sock == 0 || body.inbound != 0 ? 0 : findFlow(body.sock)
    switch record.type {
    case .connect:
      let entry = flows[known].pointee
      let isSame = entry.remote == Self.address(body.remote) && entry.remotePort == body.remote_port
      let isReusable = known != 0 && (entry.state == FlowSummary.State.bound.code || isSame)
      let flow = isReusable ? known : newFlow(body, image, record.time)
      update(flow, body, .requested)
    case .bind:
      update(known != 0 ? known : newFlow(body, image, record.time), body, .bound)
    case .listen:
      let flow = known != 0 ? known : newFlow(body, image, record.time)
      if flow != 0 { flows[flow].pointee.flags |= FlowEntry.isListener }
      update(flow, body, .listening)
    case .udpSend: sendDatagram(body, known, image, record.time)
    case .tcpClose: closeFlow(body, known, process, record.time)
    case .flowOpen:
      let flow = begunFlow(body, known, process, record.time)
      update(flow, body, body.established != 0 ? .established : .requested)
    default: update(newFlow(body, image, record.time), body, .requested)
    }
  }

  private mutating func newFlow(_ body: mt_sock, _ image: UInt32, _ time: UInt64) -> UInt32 {
    let flow = addFlow(body.sock, image, time)
    if flow != 0 { index(flow) }
    return flow
  }

  /// Takes over what the record knows; what it does not know stays.
  private mutating func update(_ flow: UInt32, _ body: mt_sock, _ state: FlowSummary.State) {
    if flow == 0 { return }
    let entry = flows[flow]
    entry.pointee.state = state.code
    entry.pointee.family = body.family
    entry.pointee.type = body.type
    if body.protocol != 0 { entry.pointee.protocolNumber = body.protocol }
    if body.inbound != 0 { entry.pointee.flags |= FlowEntry.isInbound }
    let local = Self.address(body.local)
    let remote = Self.address(body.remote)
    if local != Address() { entry.pointee.local = local }
    if body.local_port != 0 { entry.pointee.localPort = body.local_port }
    if remote != Address() {
      entry.pointee.remote = remote
      // As it was called when it was asked for; later answers are about later connections.
      if entry.pointee.path.isEmpty, body.inbound == 0 {
        entry.pointee.path = hostName(Self.peerAddress(body.family, remote))
      }
    }
    if body.remote_port != 0 { entry.pointee.remotePort = body.remote_port }
    if body.error != 0 { entry.pointee.error = body.error }
  }

  private mutating func sendDatagram(_ body: mt_sock, _ known: UInt32, _ image: UInt32, _ time: UInt64) {
    let entry = flows[known].pointee
    let isSame =
      entry.remote == Self.address(body.remote) && entry.remotePort == body.remote_port && entry.image == image
    if known != 0 && isSame {
      update(known, body, .established)
      return
    }
    // A socket that is bound or sends elsewhere too: a flow for each destination, the socket's own stays.
    let flow = addFlow(body.sock, image, time)
    if known == 0 && flow != 0 { index(flow) }
    update(flow, body, .established)
  }

  /// A flow that began before the first record about it: one that was accepted. It belongs to the image of then.
  private mutating func pastFlow(_ body: mt_sock, _ process: UInt32, _ time: UInt64) -> UInt32 {
    let (image, started) = beginning(body, process, time)
    return addFlow(body.sock, image, started)
  }

  private func beginning(_ body: mt_sock, _ process: UInt32, _ time: UInt64) -> (image: UInt32, at: UInt64) {
    let started = time > body.duration ? time - body.duration : time
    var image = processes[process].pointee.image
    while images[image].pointee.flags & ImageEntry.isExec != 0, images[image].pointee.at > started {
      image = images[image].pointee.parent
    }
    return (image, started)
  }

  /// A connection that began earlier, and of which this is told in the end.
  private mutating func begunFlow(_ body: mt_sock, _ known: UInt32, _ process: UInt32, _ time: UInt64) -> UInt32 {
    if known == 0 {
      let flow = pastFlow(body, process, time)
      adoptRequests(of: body.sock, for: flow)
      return flow
    }
    if flows[known].pointee.flags & FlowEntry.isForeshadowed != 0 {
      flows[known].pointee.flags &= ~FlowEntry.isForeshadowed
      (flows[known].pointee.image, flows[known].pointee.startedAt) = beginning(body, process, time)
      adoptRequests(of: body.sock, for: known)
    }
    return known
  }

  /// One of which only what it says is known yet; 0: there is no room for it.
  mutating func foreshadowFlow(_ sock: UInt64, _ image: UInt32, _ time: UInt64) -> UInt32 {
    if sock == 0 { return 0 }
    let flow = addFlow(sock, image, time)
    if flow == 0 { return 0 }
    index(flow)
    flows[flow].pointee.flags = FlowEntry.isForeshadowed
    flows[flow].pointee.protocolNumber = 6  // IPPROTO_TCP
    return flow
  }

  private mutating func closeFlow(_ body: mt_sock, _ known: UInt32, _ process: UInt32, _ time: UInt64) {
    let flow = begunFlow(body, known, process, time)
    if flow == 0 { return }
    let isListener = flows[flow].pointee.flags & FlowEntry.isListener != 0
    let wasEstablished = body.established != 0 || flows[flow].pointee.state == FlowSummary.State.established.code
    let state: FlowSummary.State = isListener ? .listening : wasEstablished ? .closed : .failed
    update(flow, body, state)
    let entry = flows[flow]
    entry.pointee.duration = body.duration != 0 ? body.duration : time &- min(entry.pointee.startedAt, time)
    entry.pointee.sent = body.sent
    entry.pointee.received = body.received
    entry.pointee.flags |= FlowEntry.hasBytes
    // The number may come again for another socket.
    if known != 0 { flowIndex.remove(hash(body.sock), known) }
  }

  // MARK: - Unix

  mutating func applyUnix(_ record: RecordView, _ process: UInt32, _ image: UInt32) {
    let body = record.unix
    if record.flags.contains(.truncated) { applied.pathIsTruncated = true }
    unixChannel(body, image, record.time)
    let flow = addFlow(body.sock, image, record.time)
    if let raw = record.string(.path), !raw.isEmpty {
      if raw[0] == 0 {
        show(Fixed.nowhere, raw)
      } else {
        let target = givenTarget(record, body.dir, .dir, .path, process)
        applied.pathIsResolved = target.isResolved
        show(target.directory, target.name)
      }
    }
    guard flow != 0 else { return }
    let entry = flows[flow]
    entry.pointee.flags |= FlowEntry.isUnix | (record.type == .unixAccept ? FlowEntry.isInbound : 0)
    entry.pointee.family = 1  // AF_UNIX
    entry.pointee.type = body.type
    entry.pointee.state = FlowSummary.State.established.code
    if !equal(arena[merging.path], applied.path) { merging.path = keep(applied.path) }
    flows[flow].pointee.path = merging.path
  }
}
