internal import KernelABI
internal import Observation

/// Equal requests of a connection; of those without one, of a process.
struct RequestEntry: BitwiseCopyable {
  var list: UInt32 = 0
  var process: UInt32 = 0
  /// The next one of the list.
  var next: UInt32 = 0
  var library: UInt16 = 0
  var isHTTP2 = false
  var isCut = false
  var method = Arena.Reference()
  var host = Arena.Reference()
  var path = Arena.Reference()
  var count: UInt64 = 0
}

/// Of a connection; of a socket of which nothing else is known yet; or of all requests without either.
struct RequestList: BitwiseCopyable {
  var flow: UInt32 = 0
  /// 0 if there is a flow.
  var sock: UInt64 = 0
  var first: UInt32 = 0
  var last: UInt32 = 0
  var kinds: UInt32 = 0
  var count: UInt64 = 0
  var unlisted: UInt64 = 0
}

extension Fold {
  mutating func applyRequest(_ record: RecordView, _ process: UInt32) {
    let body = record.request
    guard body.flags & UInt16(MT_REQUEST_HIDDEN.rawValue) == 0 else {
      requestCounts.hidden &+= 1
      return
    }
    requestCounts.count &+= 1
    let isCut = record.flags.contains(.truncated)
    if isCut { requestCounts.cut &+= 1 }
    let none = Bytes(start: nil, count: 0)
    let method = record.string(.detail) ?? none
    applied.name2 = method
    applied.name = masking.path(record.string(.path) ?? none, isCut: false)
    applied.detail = masking.detail(record.string(.name) ?? none)
    applied.pathIsTruncated = isCut
    let flow = body.sock == 0 ? 0 : findFlow(body.sock)
    let list = listOfRequests(of: flow, flow == 0 ? body.sock : 0)
    guard list != 0 else {
      notKept.requests &+= 1
      return
    }
    requestLists[list].pointee.count &+= 1

    // Of those without a connection each process has its own.
    let place = UInt64(list) &<< 32 | UInt64(process)
    let key = hash(hash(place, hash(0, method)), hash(hash(UInt32(body.flags), applied.name), hash(1, applied.detail)))
    let isHTTP2 = body.flags & UInt16(MT_REQUEST_HTTP2.rawValue) != 0
    let all = requests.all
    let known = requestIndex.find(key) { index in
      let old = all[Int(index)]
      return old.list == list && old.process == process && old.isHTTP2 == isHTTP2 && old.library == body.library
        && equal(arena[old.method], method) && equal(arena[old.host], applied.detail)
        && equal(arena[old.path], applied.name)
    }
    if known != 0 {
      requests[known].pointee.count &+= 1
      return
    }
    let isListed = requestLists[list].pointee.kinds < UInt32(FlowRequests.limit)
    guard isListed, requests.count < options.limits.requests, hasRoom() else {
      requestLists[list].pointee.unlisted &+= 1
      // Within a connection that is how it is meant; for want of memory it is not.
      if isListed { notKept.requests &+= 1 }
      return
    }
    var entry = RequestEntry(
      list: list, process: process, library: body.library, isHTTP2: isHTTP2, isCut: isCut, count: 1)
    entry.method = keep(method)
    entry.host = keep(applied.detail)
    entry.path = keep(applied.name)
    let index = requests.append(entry)
    requestIndex.insert(key, index)
    requestLists[list].pointee.kinds &+= 1
    let last = requestLists[list].pointee.last
    if last == 0 { requestLists[list].pointee.first = index } else { requests[last].pointee.next = index }
    requestLists[list].pointee.last = index
  }

  private func findRequests(of flow: UInt32, _ sock: UInt64) -> UInt32 {
    let all = requestLists.all
    return requestListIndex.find(hash(UInt64(flow), sock)) { all[Int($0)].flow == flow && all[Int($0)].sock == sock }
  }

  /// 0: there is no room for another one.
  private mutating func listOfRequests(of flow: UInt32, _ sock: UInt64) -> UInt32 {
    let known = findRequests(of: flow, sock)
    if known != 0 { return known }
    guard requestLists.count < options.limits.flows, hasRoom() else { return 0 }
    let list = requestLists.append(RequestList(flow: flow, sock: sock))
    requestListIndex.insert(hash(UInt64(flow), sock), list)
    return list
  }

  /// A socket's connection is known now, at its end: in a log nothing tells of it before.
  mutating func adoptRequests(of sock: UInt64, for flow: UInt32) {
    guard requestLists.count > 0, flow != 0, sock != 0 else { return }
    let list = findRequests(of: 0, sock)
    guard list != 0 else { return }
    requestListIndex.remove(hash(0, sock), list)
    requestLists[list].pointee.flow = flow
    requestLists[list].pointee.sock = 0
    requestListIndex.insert(hash(UInt64(flow), 0), list)
  }

  func hasRequests(_ flow: UInt32) -> Bool { requestLists.count > 0 && findRequests(of: flow, 0) != 0 }

  func requests(ofFlow flow: UInt32) -> FlowRequests {
    requestLists.count > 0 ? requests(ofList: findRequests(of: flow, 0)) : FlowRequests()
  }

  private func requests(ofList list: UInt32) -> FlowRequests {
    var out = FlowRequests()
    if list == 0 { return out }
    out.count = requestLists[list].pointee.count
    out.unlisted = requestLists[list].pointee.unlisted
    var current = requestLists[list].pointee.first
    while current != 0 {
      let entry = requests[current].pointee
      var request = RequestSummary()
      request.method = String(decoding: arena[entry.method], as: UTF8.self)
      request.host = Name(bytes: Array(arena[entry.host]))
      request.path = Name(bytes: Array(arena[entry.path]), isTruncated: entry.isCut)
      request.isHTTP2 = entry.isHTTP2
      request.library = RequestLibrary(rawValue: entry.library) ?? .openSSL
      request.process = entry.process
      request.count = entry.count
      out.distinct.append(request)
      current = entry.next
    }
    return out
  }

  func requestCounting() -> RequestCounting? {
    guard options.readsRequests else { return nil }
    var out = requestCounts
    for list in requestLists.indices where requestLists[list].pointee.flow == 0 {
      out.withoutConnection.merge(requests(ofList: list))
    }
    return out
  }
}
