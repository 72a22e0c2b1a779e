internal import CLibbpf
internal import KernelABI
internal import Policy

extension Sensor {
  /// Writes what rules other than those about the network need into the maps, apart from what says that they are in force.
  func place(
    _ tables: PolicyTables, _ files: PolicyInodes, noting placed: inout PlacedPolicy
  ) throws(SensorError) {
    for (place, masks) in tables.paths.places {
      var masks = masks
      let hash = keyHash.ofPath(place.text.utf8)
      try put(&masks, at: mt_path_key(hash: hash, policy: placed.id, form: place.form), of: "policy_paths", &placed)
    }
    for (number, step) in tables.places.steps.enumerated() {
      var bits = UInt32(1) << UInt32(number)
      let key = mt_step_key(name: keyHash.ofValue(Array(step.utf8)), policy: placed.id, reserved: 0)
      try put(&bits, at: key, of: "policy_steps", &placed)
    }
    for rule in tables.rules {
      var value = rule.rule
      let key = mt_rule_key(policy: placed.id, list: UInt16(rule.list.rawValue), bit: UInt16(rule.bit))
      try put(&value, at: key, of: "policy_rules", &placed)
    }
    for (word, bits) in tables.words {
      var bits = bits
      var key = mt_word_key()
      key.policy = placed.id
      key.list = word.list
      withUnsafeMutableBytes(of: &key.text) { $0.copyBytes(from: word.text.prefix($0.count)) }
      try put(&bits, at: key, of: "policy_words", &placed)
    }
    if tables.entry.flags & UInt16(MT_POLICY_EXEC.rawValue) != 0 {
      var needs = tables.needs
      try put(&needs, at: placed.id, of: "policy_needs", &placed)
    }
    try placeFiles(files, noting: &placed)
    if tables.entry.flags & UInt16(MT_POLICY_MEMORY.rawValue) != 0 { try objects.attachLate("guard_sys_enter") }
  }

  private func placeFiles(
    _ files: PolicyInodes, noting placed: inout PlacedPolicy
  ) throws(SensorError) {
    let capacity = Int(mapCapacity(objects.maps["policy_inodes"] ?? -1) ?? 0)
    let taken = placedPolicies.values.reduce(0) { $0 + ($1.keys["policy_inodes"]?.count ?? 0) }
    let room = max(0, capacity - taken)
    for (identity, masks) in files.masks.prefix(room) {
      var masks = masks
      let key = mt_inode_key(ino: identity.inode, dev: identity.device, policy: placed.id)
      try put(&masks, at: key, of: "policy_inodes", &placed)
    }
    unprotectedInodes += UInt64(files.leftOut + max(0, files.masks.count - room))
  }

  private func put<Key: BitwiseCopyable, Value: BitwiseCopyable>(
    _ value: inout Value, at key: Key, of map: String, _ placed: inout PlacedPolicy
  ) throws(SensorError) {
    placed.note(key, in: map)
    try Self.set(&value, at: withUnsafeBytes(of: key) { [UInt8]($0) }, of: objects.map(map), named: map)
  }

  /// Takes out what a slot's job has written.
  func forgetFiles(writtenBy slot: UInt16) {
    guard notesWrites, let map = objects.maps["policy_writes"] else { return }
    var key = mt_inode_key()
    var next = mt_inode_key()
    var gone: Int64 = 0
    var found = bpf_map_get_next_key(map, nil, &next)
    while found == 0 {
      key = next
      // Asked for before the key goes: without it the kernel begins anew.
      found = bpf_map_get_next_key(map, &key, &next)
      if key.policy == UInt32(slot), bpf_map_delete_elem(map, &key) == 0 { gone += 1 }
    }
    try? countEntry(MT_MAP_WRITTEN, -gone)
  }
}
