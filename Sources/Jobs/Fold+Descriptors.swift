internal import KernelABI
internal import Observation

/// Who holds which file open for writing. Whoever holds a writable descriptor is a writer, however it came by it.
extension Fold {
  /// Descriptors that the kernel side follows across exec; what is above is taken to stay open.
  private static let followed = Int32(MT_FD_TRACKED)
  /// A hostile job may hold many descriptors in many processes: above this they are only counted.
  private static let descriptorLimit = 1 << 20

  // MARK: - Tables

  private func findDescriptor(_ table: UInt32, _ number: Int32) -> UInt32 {
    let all = descriptors.all
    return descriptorIndex.find(descriptorHash(table, number)) {
      all[Int($0)].table == table && all[Int($0)].descriptor == number
    }
  }

  /// The file that a process has open for writing under a number; 0 if none is known.
  func heldFile(_ process: UInt32, _ number: Int32) -> UInt32 {
    let table = processes[process].pointee.descriptors
    return table == 0 ? 0 : descriptors[findDescriptor(table, number)].pointee.file
  }

  private func descriptorHash(_ table: UInt32, _ number: Int32) -> UInt64 {
    hash(UInt64(table), UInt64(UInt32(bitPattern: number)))
  }

  private mutating func tableOf(_ process: UInt32) -> UInt32 {
    let table = processes[process].pointee.descriptors
    if table != 0 { return table }
    let new: UInt32
    if freeTable != 0 {
      new = freeTable
      freeTable = tables[new].pointee.first
      tables[new].pointee = DescriptorTable(first: 0, users: 1)
    } else {
      new = tables.append(DescriptorTable(first: 0, users: 1))
    }
    processes[process].pointee.descriptors = new
    return new
  }

  private mutating func addDescriptor(_ table: UInt32, _ number: Int32, _ file: UInt32, _ access: UInt32) {
    guard descriptorIndex.count < Self.descriptorLimit else {
      notKept.descriptors &+= 1
      return
    }
    let first = tables[table].pointee.first
    let entry = DescriptorEntry(table: table, descriptor: number, file: file, access: access, next: first)
    let index: UInt32
    if freeDescriptor != 0 {
      index = freeDescriptor
      freeDescriptor = descriptors[index].pointee.next
      descriptors[index].pointee = entry
    } else {
      index = descriptors.append(entry)
    }
    if first != 0 { descriptors[first].pointee.previous = index }
    tables[table].pointee.first = index
    descriptorIndex.insert(descriptorHash(table, number), index)
  }

  private mutating func removeDescriptor(_ index: UInt32) {
    let entry = descriptors[index].pointee
    descriptorIndex.remove(descriptorHash(entry.table, entry.descriptor), index)
    if entry.previous != 0 {
      descriptors[entry.previous].pointee.next = entry.next
    } else {
      tables[entry.table].pointee.first = entry.next
    }
    if entry.next != 0 { descriptors[entry.next].pointee.previous = entry.previous }
    descriptors[index].pointee = DescriptorEntry(next: freeDescriptor)
    freeDescriptor = index
  }

  // MARK: - Open and close

  /// A process holds a file open for writing from now on; the access is noted already.
  mutating func openWriter(
    _ file: UInt32, _ access: UInt32, _ process: UInt32, _ number: Int32, _ mode: UInt32, _ time: UInt64
  ) {
    let table = tableOf(process)
    let old = findDescriptor(table, number)
    if old != 0 { releaseUnseen(old, time) }
    let isInherited = mode & FileAccess.Mode.inherited.rawValue != 0
    beginWriting(file, time, mode, continues: isInherited)
    addDescriptor(table, number, file, access)
  }

  /// A descriptor is gone although nobody told: at the end of its image, or when its number is used again.
  private mutating func releaseUnseen(_ descriptor: UInt32, _ time: UInt64) {
    let entry = descriptors[descriptor].pointee
    removeDescriptor(descriptor)
    endAccess(entry.access, time, isUpperBound: true)
    endWriting(entry.file, time)
  }

  private mutating func endAccess(_ access: UInt32, _ time: UInt64, isUpperBound: Bool) {
    if access == 0 { return }
    let entry = accesses[access]
    let end = short(time)
    let isSeen = !entry.pointee.last.isNone && entry.pointee.flags & AccessEntry.isUpperBound == 0
    if isUpperBound {
      if isSeen && end.delta <= entry.pointee.last.delta { return }
      entry.pointee.flags |= AccessEntry.isUpperBound
      entry.pointee.last = end
    } else {
      if isSeen && end.delta < entry.pointee.last.delta { return }
      entry.pointee.flags &= ~AccessEntry.isUpperBound
      entry.pointee.last = end
    }
  }

  mutating func applyClose(_ record: RecordView, _ process: UInt32) {
    let body = record.close
    let time = record.time
    setIdentity(body.file)
    let image = processes[process].pointee.image
    let table = processes[process].pointee.descriptors
    var file = findFile(body.file)
    let descriptor = table == 0 ? 0 : findDescriptor(table, body.fd)
    var isHeld = false
    var access: UInt32 = 0
    if descriptor != 0 {
      let held = descriptors[descriptor].pointee.file
      let isSame =
        held == file || files[held].pointee.inode == body.file.ino && files[held].pointee.device == body.file.dev
      // After dup2 the number may stand for another file already: then this is the end of the old one.
      if isSame {
        file = held
        isHeld = true
        access = descriptors[descriptor].pointee.access
        removeDescriptor(descriptor)
      }
    }
    guard file != 0 else { return }
    showLocation(of: file)
    if access == 0 { access = findAccess(file, image) }
    if access == 0 {
      // Announced by exec, but told after it: the image before held it.
      let before = images[image].pointee.parent
      if before != 0 && images[before].pointee.process == process { access = findAccess(file, before) }
    }
    endAccess(access, time, isUpperBound: false)
    if isHeld { endWriting(file, time) }
    noteClose(file, body, time)
  }

  mutating func applyDup(_ record: RecordView, _ process: UInt32, _ image: UInt32) {
    let body = record.dup
    setIdentity(body.file)
    let table = processes[process].pointee.descriptors
    let old = table == 0 ? 0 : findDescriptor(table, body.old_fd)
    var file = findFile(body.file)
    if old != 0 {
      let held = descriptors[old].pointee.file
      if file == 0 || files[held].pointee.inode == body.file.ino { file = held }
    }
    guard file != 0, process != 0 else { return }
    showLocation(of: file)
    let access = addAccess(file, image, FileAccess.Mode.write.rawValue, record.time)
    openWriter(file, access, process, body.new_fd, FileAccess.Mode.inherited.rawValue, record.time)
  }

  mutating func applyMapping(_ record: RecordView, _ image: UInt32) {
    let body = record.mmap
    setIdentity(body.file)
    let file = findOrAddFile(body.file, isNew: false)
    guard file != 0 else { return }
    showLocation(of: file)
    files[file].pointee.flags |= FileEntry.wasWritten
    addAccess(file, image, (FileAccess.Mode.mapped.union(.write)).rawValue, record.time)
    if files[file].pointee.detail == 0 {
      beginWriting(file, record.time, 0, continues: true)
      endWriting(file, record.time)
    }
  }

  // MARK: - Fork, exec, exit

  /// The child holds what its parent holds. If the fork is told late it may have opened some itself already.
  mutating func inheritDescriptors(from parent: UInt32, to child: UInt32, shares: Bool, _ time: UInt64) {
    let source = processes[parent].pointee.descriptors
    let image = processes[child].pointee.firstImage
    if shares && processes[child].pointee.descriptors == 0 {
      let table = tableOf(parent)
      processes[child].pointee.descriptors = table
      tables[table].pointee.users &+= 1
    }
    if source == 0 { return }
    let mode = FileAccess.Mode.write.union(.inherited)
    var current = tables[source].pointee.first
    while current != 0 {
      let entry = descriptors[current].pointee
      current = entry.next
      let access = addAccess(entry.file, image, mode.rawValue, time)
      let table = processes[child].pointee.descriptors
      if table == source || table != 0 && findDescriptor(table, entry.descriptor) != 0 { continue }
      openWriter(entry.file, access, child, entry.descriptor, mode.rawValue, time)
    }
  }

  /// Gives up a table that others use too: what is in it this process held until now.
  private mutating func leaveShared(_ process: UInt32, _ image: UInt32, _ time: UInt64) {
    let table = processes[process].pointee.descriptors
    processes[process].pointee.descriptors = 0
    tables[table].pointee.users &-= 1
    var current = tables[table].pointee.first
    while current != 0 {
      let entry = descriptors[current].pointee
      current = entry.next
      let access = addAccess(entry.file, image, FileAccess.Mode.write.rawValue, time)
      endAccess(access, time, isUpperBound: true)
    }
  }

  /// At exec the records of what the new image found open follow: only what they do not tell of stays.
  mutating func leaveDescriptorsAtExec(_ process: UInt32, _ image: UInt32, _ time: UInt64) {
    let table = processes[process].pointee.descriptors
    if table == 0 { return }
    if tables[table].pointee.users > 1 {
      leaveShared(process, image, time)
      return
    }
    var current = tables[table].pointee.first
    while current != 0 {
      let entry = descriptors[current].pointee
      let next = entry.next
      if entry.descriptor < Self.followed {
        releaseUnseen(current, time)
      } else {
        endAccess(entry.access, time, isUpperBound: true)
      }
      current = next
    }
  }

  /// The new image holds the descriptors that are not followed, as far as anyone can tell.
  mutating func adoptHighDescriptors(_ process: UInt32, _ image: UInt32, _ time: UInt64) {
    let table = processes[process].pointee.descriptors
    var current = table == 0 ? 0 : tables[table].pointee.first
    let mode = FileAccess.Mode.write.union(.inherited)
    while current != 0 {
      let access = addAccess(descriptors[current].pointee.file, image, mode.rawValue, time)
      descriptors[current].pointee.access = access
      current = descriptors[current].pointee.next
    }
  }

  mutating func leaveDescriptorsAtExit(_ process: UInt32, _ time: UInt64) {
    let table = processes[process].pointee.descriptors
    if table == 0 { return }
    let image = processes[process].pointee.image
    if tables[table].pointee.users > 1 {
      leaveShared(process, image, time)
      return
    }
    while tables[table].pointee.first != 0 { releaseUnseen(tables[table].pointee.first, time) }
    processes[process].pointee.descriptors = 0
    tables[table].pointee = DescriptorTable(first: freeTable, users: 0)
    freeTable = table
  }
}
