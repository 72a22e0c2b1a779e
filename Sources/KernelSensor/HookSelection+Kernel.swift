extension HookSelection {
  /// Refuses what need not be tried: programs whose tracepoint is missing or another, and, where there is a choice,
  /// kinds of hooks that work for no program here.
  ///
  /// - Throws: if that leaves no way for a required function
  mutating func leaveOutWhatCannotWork() throws(SensorError) {
    let types = try KernelTypes()
    var objections: [String: String?] = [:]
    for (name, signature) in candidates {
      var objection: String?
      if name.canBeSilent, let kind = HookKind(rawValue: name.kind) {
        objection = objections[name.kind] ?? kind.trial(types).objection
        objections[name.kind] = .some(objection)
      }
      if objection == nil, let type = name.attachType {
        let key = "\(type.name) \(signature ?? "")"
        objection = objections[key] ?? types.objection(to: type.name, isTypedef: type.isTypedef, wanting: signature)
        objections[key] = .some(objection)
      }
      guard let objection else { continue }
      try overcome(
        .program(
          name.name, at: .choice, reason: objection,
          SensorError(
            .kernelTooOld, "The hook \(name.section) is needed, and \(objection)", advice: Sensor.upgradeAdvice)))
    }
  }
}
