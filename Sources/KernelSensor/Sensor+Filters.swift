internal import CLibbpf
internal import Glibc
internal import KernelABI
public import Observation

extension Sensor {
  /// Leaves out of a job what a filter says: for one that no rule makes, before its first process is in it.
  ///
  /// The sensor has to have been opened with the filter among ``SensorOptions/filters``.
  public func setFilter(_ filter: EventFilter, on slot: UInt16) throws(SensorError) {
    guard !filter.isEmpty else { return }
    var key = UInt32(try checked(slot))
    var entry = try place(filter)
    try Self.set(&entry, at: &key, of: objects.map("filters"), named: "filters")
  }

  /// Has jobs that begin from now on begin with these filters, each before the job's first process is in it.
  ///
  /// - Parameters:
  ///   - rules: by the index of the rule that makes the job
  ///   - asked: for jobs that no rule makes: ``takeSlot(rule:key:)``
  public func setFilters(rules: [Int: EventFilter], asked: EventFilter?) throws(SensorError) {
    var filters = rules
    filters[Int(MT_FILTER_OF_ASKED)] = asked
    for (index, filter) in filters where !filter.isEmpty {
      var key = UInt32(index)
      var entry = try place(filter)
      try Self.set(&entry, at: &key, of: objects.map("given_filters"), named: "given_filters")
    }
  }

  /// As the kernel side does for those that it finds.
  func beginFilter(on slot: UInt16, rule: Int) throws(SensorError) {
    guard let given = objects.maps["given_filters"] else { return }
    try copyFilter(from: given, at: UInt32(rule), named: "given_filters", to: slot)
  }

  /// Leaves out of what a container of a job does what is left out of the job.
  public func shareFilter(of job: UInt16, with container: UInt16) throws(SensorError) {
    guard let filters = objects.maps["filters"] else { return }
    try copyFilter(from: filters, at: UInt32(checked(job)), named: "filters", to: container)
  }

  private func copyFilter(from map: Int32, at index: UInt32, named name: String, to slot: UInt16) throws(SensorError) {
    var index = index
    var entry = mt_filter()
    let result = bpf_map_lookup_elem(map, &index, &entry)
    if result != 0 { throw .mapFailed(name, "read", errno: -result) }
    var key = UInt32(try checked(slot))
    try Self.set(&entry, at: &key, of: objects.map("filters"), named: "filters")
  }

  /// Its prefixes are in the trie before anybody is under it.
  private func place(_ filter: EventFilter) throws(SensorError) -> mt_filter {
    if let objection = filter.objection {
      throw .systemCall("A filter cannot be in force: \(objection)", errno: EINVAL)
    }
    var entry = mt_filter()
    entry.events = filter.bits
    entry.place(filter.users)
    let prefixes = filter.prefixes
    guard !prefixes.isEmpty else { return entry }
    lastFilter += 1
    entry.paths = lastFilter
    let paths = try objects.map("filter_paths")
    for prefix in prefixes {
      var key = mt_filter_path()
      var place = mt_filter_place()
      let bytes = Array(prefix.path.utf8)
      key.filter = lastFilter
      key.prefix = UInt32(8 * (MemoryLayout<UInt32>.size + bytes.count))
      withUnsafeMutableBytes(of: &key.path) { $0.copyBytes(from: bytes) }
      place.length = UInt32(bytes.count)
      place.is_left_out = prefix.isLeftOut ? 1 : 0
      place.has_others = prefix.hasOthers ? 1 : 0
      try Self.set(&place, at: &key, of: paths, named: "filter_paths")
    }
    return entry
  }

  /// What the filter of the job in this slot has left out so far, on all CPUs.
  func filteredCounts(_ slot: UInt16) throws(SensorError) -> FilteredCounts {
    var counts = FilteredCounts()
    guard let map = objects.maps["filtered"] else { return counts }
    let values: [mt_filtered] = try perCPUValues(
      map, named: "filtered", Int(checked(slot)), possibleCPUs, zero: mt_filtered())
    for value in values {
      withUnsafeBytes(of: value.events) { bytes in
        for (index, count) in bytes.bindMemory(to: UInt64.self).enumerated() { counts[index] &+= count }
      }
    }
    return counts
  }

  /// For the slot's next job.
  func clearFilteredCounts(_ slot: UInt16) throws(SensorError) {
    guard let map = objects.maps["filtered"] else { return }
    let counts = [mt_filtered](repeating: mt_filtered(), count: possibleCPUs)
    var key = UInt32(slot)
    let result = counts.withUnsafeBytes { bpf_map_update_elem(map, &key, $0.baseAddress, 0) }
    if result != 0 { throw .mapFailed("filtered", "update", errno: -result) }
  }
}

extension mt_filter {
  fileprivate mutating func place(_ users: EventFilter.Users?) {
    var named: [UInt32] = []
    switch users {
    case .except(let users)?: (self.users, named) = (MT_USERS_EXCEPT.rawValue, users)
    case .only(let users)?: (self.users, named) = (MT_USERS_ONLY.rawValue, users)
    case nil: break
    }
    named += repeatElement(MT_ANY_USER, count: EventFilter.userLimit - named.count)
    withUnsafeMutableBytes(of: &uids) { bytes in named.withUnsafeBytes { bytes.copyMemory(from: $0) } }
  }
}

extension SensorOptions {
  /// For a sensor with one job, which has this filter.
  public mutating func leaveOut(of filter: EventFilter) {
    filters = filter.isEmpty ? [] : [filter]
    leftOut = filter.events
    // Names are those of connections.
    if leftOut.contains(.network) { names = false }
  }

  /// Bits of `mt_config.filters`, for the programs.
  var filterBits: UInt32 {
    filters.filter { !$0.isEmpty }.reduce(0) { bits, filter in
      bits | MT_FILTERS_ANY.rawValue | (filter.excludedPaths.isEmpty ? 0 : MT_FILTERS_PATHS.rawValue)
        | (filter.users == nil ? 0 : MT_FILTERS_USERS.rawValue)
    }
  }

  /// What is told of no job: what sees nothing else need not be attached.
  ///
  /// Of connections policies, and the names of hosts, are kept by the same programs.
  var unwanted: Set<EventClass> { enforces || names ? leftOut.subtracting([.network]) : leftOut }
}

extension HookFunction {
  /// What it is for, if all of it are events that can be left out.
  var classes: Set<EventClass>? {
    if request != nil && request != .bytes { return nil }
    switch (family, name) {
    case ("file", "close"), ("file", "close of many"), ("file", "copies of descriptors"), ("file", "shared mappings"):
      return [.fileWrite]
    case ("file", _), ("bytes", _): return [.fileRead, .fileWrite]
    // Also for the paths of directories that are remembered, which renames and mounts change.
    case ("path", _): return EventClass.files.union([.unix])
    case ("flow", _): return [.channel]
    case ("network", "unix sockets"): return [.unix]
    // Accepted are unix sockets, too.
    case ("network", "accept"): return [.network, .unix]
    case ("network", _): return [.network]
    case ("security", _): return [.security]
    default: return nil
    }
  }

  func isWanted(without unwanted: Set<EventClass>) -> Bool { classes.map { !$0.isSubset(of: unwanted) } ?? true }
}
