internal import KernelABI
internal import Observation

/// What images find open when they start.
///
/// The processes of a build are given the same few descriptors over and over. The kernel side tells those of the first
/// image that has a set, one record each behind its exec; the execs of later ones name the set alone.
extension Fold {
  /// Notes the set of the image that has just started, and what it holds if that was told before.
  mutating func findDescriptors(_ body: mt_exec, _ process: UInt32, _ image: UInt32, _ time: UInt64) {
    if body.descriptors == 0 { return }
    let hashed = hash(body.descriptors)
    let all = descriptorSets.all
    var set = descriptorSetIndex.find(hashed) { all[Int($0)].identifier == body.descriptors }
    if body.exec_flags & MT_EXEC_DESCRIPTORS_FOLLOW.rawValue == 0 {
      applied.descriptorSet = set
      if set == 0 { notKept.descriptors &+= 1 }
      hold(set, process, image, time)
      return
    }
    if set == 0 {
      guard hasRoom() else {
        notKept.descriptors &+= 1
        return
      }
      set = descriptorSets.append(DescriptorSet(identifier: body.descriptors))
      descriptorSetIndex.insert(hashed, set)
    }
    // Told again, for something of it was lost or is forgotten in the kernel.
    descriptorSets[set].pointee.first = 0
    descriptorSets[set].pointee.owner = image
    let exec = images[image].pointee.exec
    execs[exec].pointee.descriptorSet = set
    applied.descriptorSet = set
  }

  /// Adds a descriptor that was told behind an exec to the set that the exec named.
  mutating func addToSet(_ body: mt_open, _ file: UInt32, _ image: UInt32) {
    let set = execs[images[image].pointee.exec].pointee.descriptorSet
    guard set != 0, file != 0, descriptorSets[set].pointee.owner == image else { return }
    guard hasRoom() else {
      notKept.descriptors &+= 1
      return
    }
    let member = SetMember(
      file: file, descriptor: body.fd, mode: body.fmode & (MT_FMODE_READ | MT_FMODE_WRITE),
      next: descriptorSets[set].pointee.first)
    descriptorSets[set].pointee.first = setMembers.append(member)
  }

  private mutating func hold(_ set: UInt32, _ process: UInt32, _ image: UInt32, _ time: UInt64) {
    var current = descriptorSets[set].pointee.first
    // Output and errors mostly go to one file.
    var lastTold: UInt32 = 0
    var lastFile: UInt32 = 0
    while current != 0 {
      let member = setMembers[current].pointee
      current = member.next
      if files[member.file].pointee.flags & FileEntry.isChannel != 0 {
        addAccess(member.file, image, member.mode | FileAccess.Mode.inherited.rawValue, time)
        continue
      }
      if member.file != lastTold {
        // Another file may have the identity by now.
        let told = files[member.file]
        let file = findFile(told.pointee.device, told.pointee.inode, told.pointee.generation)
        lastFile = file != 0 ? file : member.file
        lastTold = member.file
      }
      noteInherited(lastFile, member.mode, member.descriptor, process, image, time)
    }
  }
}
