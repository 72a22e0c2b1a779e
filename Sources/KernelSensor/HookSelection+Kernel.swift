extension HookSelection {
  /// Refuses what need not be tried: programs whose tracepoint is missing or another, and, where there is a choice,
  /// kinds of hooks that work for no program here.
  ///
  /// - Throws: if that leaves no way for a required function
  mutating func leaveOutWhatCannotWork(cgroupRoot: String) throws(SensorError) {
    let types = try KernelTypes()
    var objections: [String: String?] = [:]
    for (name, signature) in candidates {
      let objection: String?
      if let type = name.traceType {
        let key = "\(type) \(signature ?? "")"
        objection = objections[key] ?? types.objection(to: type, wanting: signature)
        objections[key] = .some(objection)
      } else if name.canBeSilent, let kind = HookKind(rawValue: name.kind) {
        objection = objections[name.kind] ?? kind.trial(types, cgroupRoot: cgroupRoot).objection
        objections[name.kind] = .some(objection)
      } else {
        continue
      }
      guard let objection else { continue }
      try overcome(
        .program(
          name.name, reason: objection,
          SensorError(
            .kernelTooOld, "The hook \(name.section) is needed, and \(objection)", advice: Sensor.upgradeAdvice)))
    }
  }
}
