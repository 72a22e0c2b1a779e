public import Configuration

/// `martlet.yaml`, which docs/policy.md describes:
///
/// ```yaml
/// version: 1
/// network:
///   default: deny
///   allow:
///     - {host: "*.example.org", ports: [443]}
/// exec: {deny: [{memfd: true}]}
/// files: {protect: sources}
/// ```
extension Policy {
  /// Reads a file, all of it or nothing; its rules are numbered and know their places.
  public static func read(_ path: String) throws(ConfigurationError) -> Policy { try form.read(path: path) }

  public static func read(_ bytes: [UInt8], file: String) throws(ConfigurationError) -> Policy {
    try form.read(bytes, file: file)
  }

  /// The JSON schema of such a file.
  public static var schema: [UInt8] { form.schema.document(id: "urn:martlet:policy:1", title: "martlet.yaml") }

  static let form = Form<PolicyFile>.record(
    PolicyFile(),
    .field("version", "Of this format: 1.", .integer(1...1), required: true, \.version),
    .field("network", "Whom the job may connect to.", SectionForm.network, \.policy.network),
    .field("exec", "What it may execute.", SectionForm.exec, \.policy.exec),
    .field("files", "Which files it may change or read.", SectionForm.files, \.policy.files),
    .field("memory", "Whose memory nobody may get at.", SectionForm.memory, \.policy.memory),
    .field("system", "What it may do to the system.", SectionForm.system, \.policy.system),
    .field(
      "requirePrevention",
      "Start no job where a rule's action cannot be carried out before the deed; false if left out.", .truth,
      \.policy.requirePrevention),
    .field(
      "onSensorError",
      "What becomes of a job when martlet is gone: open (nothing is denied any more) if left out, closed (it stays denied).",
      .word,
      \.policy.onSensorError)
  ).map { file throws(FormError) in
    var policy = file.policy
    if let objection = PolicyLimits.objection(to: policy) { throw objection }
    policy.number()
    return policy
  }
}

/// The file as it is written.
struct PolicyFile: Sendable {
  var version = 1
  var policy = Policy()
}

extension Form where Value == HostPattern {
  static var host: Form {
    Form<String>.text(atMost: 256).map { text throws(FormError) in try HostPattern(text) }
  }
}

extension Form where Value == IPNetwork {
  static var cidr: Form {
    Form<String>.text(atMost: 64).map { text throws(FormError) in try IPNetwork(cidr: text) }
  }
}

extension Form where Value == IPAddress {
  static var address: Form {
    Form<String>.text(atMost: 64).map { text throws(FormError) in
      if let address = IPAddress(text) { return address }
      throw FormError("\(FormError.shown(text)) is no address such as 192.0.2.1 or 2001:db8::1")
    }
  }
}

extension Form where Value == PathPattern {
  static var pathPattern: Form {
    Form<String>.text(atMost: PolicyLimits.path).map { text throws(FormError) in try PathPattern(text) }
  }
}

extension Form where Value == ImagePattern {
  static var image: Form {
    Form<String>.text(atMost: PolicyLimits.image).map { text throws(FormError) in try ImagePattern(text) }
  }
}

extension Form where Value == [UInt8] {
  static var sha256: Form {
    Form<String>.text().matching("^[0-9A-Fa-f]{64}$").map { text throws(FormError) in
      let digits = text.utf8.compactMap { digit -> UInt8? in
        switch digit {
        case 0x30...0x39: digit - 0x30
        case 0x41...0x46: digit - 0x41 + 10
        case 0x61...0x66: digit - 0x61 + 10
        default: nil
        }
      }
      guard digits.count == 64, text.utf8.count == 64 else {
        throw FormError("\(FormError.shown(text)) is no SHA-256: 64 hexadecimal digits")
      }
      return stride(from: 0, to: 64, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }
  }
}

extension Form where Value == String {
  static var stepName: Form {
    text(atMost: PolicyLimits.step).map { name throws(FormError) in
      guard !name.isEmpty, !name.utf8.contains(0) else {
        throw FormError("\(FormError.shown(name)) is no name of a step")
      }
      return name
    }
  }

  static var comm: Form {
    text(atMost: PolicyLimits.comm).map { name throws(FormError) in
      guard !name.utf8.contains(UInt8(ascii: "/")) else {
        throw FormError("\(FormError.shown(name)) is no process' name, which has no '/'; see /proc/PID/comm")
      }
      return name
    }
  }
}

extension Form where Value == Bool {
  static var onlyTrue: Form {
    truth.map { value throws(FormError) in
      guard value else { throw FormError("can only be true; leave it out otherwise") }
      return true
    }
  }
}
