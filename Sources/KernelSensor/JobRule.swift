import Glibc
import KernelABI

/// What the first process of a CI's job is known by. All that a rule names has to hold when a process execs; of several
/// rules that hold the first one counts, those by name before those by environment.
public struct JobRule: Sendable, Equatable {
  /// The name that the kernel gives to the task: the last component of what was executed, its first 15 bytes.
  public var comm: String?
  /// The image. From `/` on it is the whole path in the mount namespace, else its last components. Of a script it is
  /// the interpreter's. Without ``comm`` only images are looked at that are executed by their own name.
  public var path: String?
  /// The effective user id in the initial user namespace.
  public var uid: UInt32?
  /// Where it is in the v2 hierarchy of cgroups: a path from `/` on, which is that of its cgroup or of one above it; with a
  /// `*` at its end, how that begins. If no more than this and ``uid`` is asked for, all that is executed in one
  /// cgroup is one job, unless it has the ``key``.
  public var cgroup: String?
  /// Names of variables that all have to be in the environment.
  public var markers: [String]
  /// A variable whose value tells the rule's jobs apart: what starts later with the same value joins that job as a new
  /// step. Without it, or where the environment does not have it, each process that the rule claims is a job.
  public var key: String?
  /// Variables that name a step, in what its first process is executed with; of several the first counts.
  public var stepNames: [String] = []
  /// Whether the first process is a runner, each child of which begins a step.
  public var childrenAreSteps: Bool

  public init(
    comm: String? = nil, path: String? = nil, uid: UInt32? = nil, cgroup: String? = nil, markers: [String] = [],
    key: String? = nil, childrenAreSteps: Bool = false
  ) {
    self.comm = comm
    self.path = path
    self.uid = uid
    self.cgroup = cgroup
    self.markers = markers
    self.key = key
    self.childrenAreSteps = childrenAreSteps
  }

  /// Whether each cgroup is a job, where no ``key`` tells jobs apart.
  public var isByCgroup: Bool { cgroup != nil && comm == nil && path == nil && markers.isEmpty }

  /// How the path of a cgroup begins, with the slash behind it, that the rule is for; nil: it is for all.
  public var cgroupPrefix: String? {
    guard let cgroup else { return nil }
    if cgroup.hasSuffix("*") { return String(cgroup.dropLast()) }
    return cgroup.hasSuffix("/") ? cgroup : cgroup + "/"
  }

  /// Rules that can be in force at once.
  public static let limit = Int(MT_MAX_RULES)
}

/// Rules in the form that the programs read.
struct RuleTables {
  var filter = mt_rule_filter()
  var rules: [mt_rule] = []
  /// The rules that each name leads to, a bit each.
  var comms: [Name16: UInt64] = [:]
  var variables: [VariableName: mt_variable] = [:]
  /// The rules that are for tasks in cgroups whose paths begin like this, a bit each.
  var cgroups: [String: UInt64] = [:]

  /// A task's comm, filled up with zeros.
  struct Name16: Hashable {
    var bytes: [UInt8]

    init(_ text: String) {
      bytes = Array(text.utf8.prefix(Int(MT_COMM_MAX) - 1))
      bytes += repeatElement(0, count: Int(MT_COMM_MAX) - bytes.count)
    }

    var start: Int { RuleTables.start(bytes[0], bytes[1], bytes[2]) }
  }

  struct VariableName: Hashable {
    var bytes: [UInt8]

    init(_ text: String) throws(SensorError) {
      let name = Array(text.utf8)
      // The programs look at three bytes before they look at a name, its '=' among them.
      guard (2...Int(MT_VARIABLE_NAME_MAX)).contains(name.count), !name.contains(UInt8(ascii: "=")), !name.contains(0)
      else {
        throw .systemCall(
          "A rule's variable has to have from 2 to \(MT_VARIABLE_NAME_MAX) bytes and no '=': \(text.debugDescription)",
          errno: EINVAL)
      }
      bytes = name + repeatElement(0, count: Int(MT_VARIABLE_NAME_MAX) + 1 - name.count)
    }

    var start: Int { RuleTables.start(bytes[0], bytes[1], bytes[2] == 0 ? UInt8(ascii: "=") : bytes[2]) }
  }

  /// As `MT_START` has it.
  private static func start(_ first: UInt8, _ second: UInt8, _ third: UInt8) -> Int {
    let word = UInt32(first) | UInt32(second) << 8 | UInt32(third) << 16
    return Int((word &* 0x3779_b100) >> 22)
  }

  /// - Parameter identity: names of variables whose values may be sent
  init(_ rules: [JobRule], identity: [String]) throws(SensorError) {
    guard rules.count <= JobRule.limit else {
      throw .systemCall("There are \(rules.count) rules, and at most \(JobRule.limit) fit", errno: E2BIG)
    }
    var markers: [VariableName: UInt64] = [:]
    for (index, rule) in rules.enumerated() {
      let bit = UInt64(1) << UInt64(index)
      var entry = mt_rule()
      entry.uid = rule.uid ?? MT_ANY_USER
      if rule.childrenAreSteps { entry.flags |= MT_RULE_STEPS.rawValue }
      var comm = rule.comm
      if let path = rule.path {
        try entry.setPath(path)
        // The name by which an image is executed is nearly always its own.
        comm = comm ?? path.utf8.split(separator: UInt8(ascii: "/")).last.map { String(decoding: $0, as: UTF8.self) }
      }
      if let comm {
        entry.flags |= MT_RULE_COMM.rawValue
        let name = Name16(comm)
        comms[name, default: 0] |= bit
        mark(name.start, MT_START_COMM)
        filter.kinds |= MT_RULES_BY_COMM.rawValue
      }
      for name in rule.markers {
        let name = try VariableName(name)
        if markers[name] == nil {
          guard markers.count < 64 else { throw .systemCall("The rules name more than 64 markers", errno: E2BIG) }
          markers[name] = 1 << UInt64(markers.count)
        }
        entry.markers |= markers[name] ?? 0
      }
      if let key = rule.key {
        entry.flags |= MT_RULE_KEY.rawValue
        variables[try VariableName(key), default: mt_variable()].key |= bit
      }
      for (rank, name) in rule.stepNames.enumerated() {
        variables[try VariableName(name), default: mt_variable()].step |= bit
        variables[try VariableName(name)]?.rank = UInt32(rank)
        filter.kinds |= MT_RULES_NAME_STEPS.rawValue
      }
      if let prefix = rule.cgroupPrefix {
        guard prefix.utf8.first == UInt8(ascii: "/"), (2...Int(MT_RULE_CGROUP_MAX)).contains(prefix.utf8.count),
          !prefix.utf8.contains(0)
        else {
          throw .systemCall(
            "A rule's cgroup has to be a path below / of at most \(MT_RULE_CGROUP_MAX - 1) bytes: "
              + (rule.cgroup ?? "").debugDescription, errno: EINVAL)
        }
        cgroups[prefix, default: 0] |= bit
        filter.in_cgroups |= bit
        filter.kinds |= MT_RULES_BY_CGROUP_PATH.rawValue
      }
      if rule.isByCgroup {
        filter.cgroups_alone |= bit
        entry.flags |= MT_RULE_CGROUP.rawValue
      }
      if !rule.markers.isEmpty {
        filter.by_marker |= bit
        filter.kinds |= MT_RULES_BY_MARKER.rawValue
        if comm == nil { filter.nameless |= bit }
      } else if comm != nil {
        filter.by_comm |= bit
      }
      self.rules.append(entry)
    }
    // The longest is all that is found: it has the rules of those that are shorter, too.
    let own = cgroups
    for path in own.keys {
      cgroups[path] = own.reduce(0) { path.hasPrefix($1.key) ? $0 | $1.value : $0 }
    }
    filter.count = UInt32(rules.count)
    for (name, marker) in markers {
      variables[name, default: mt_variable()].marker = marker
      mark(name.start, MT_START_MARKER)
    }
    for name in identity { variables[try VariableName(name), default: mt_variable()].identity = 1 }
    guard variables.count <= Self.variableLimit else {
      throw .systemCall(
        "\(variables.count) variables are named, and at most \(Self.variableLimit) fit", errno: E2BIG)
    }
    for name in variables.keys { mark(name.start, MT_START_VARIABLE) }
  }

  /// Entries of the map `rule_variables`.
  static let variableLimit = 512

  private mutating func mark(_ start: Int, _ what: mt_start) {
    withUnsafeMutableBytes(of: &filter.starts) { $0[start] |= UInt8(what.rawValue) }
  }
}

extension mt_rule {
  /// Puts the path, or its last components, at the end of its array.
  fileprivate mutating func setPath(_ text: String) throws(SensorError) {
    var bytes = Array(text.utf8)
    flags |= MT_RULE_PATH.rawValue
    if bytes.first == UInt8(ascii: "/") {
      flags |= MT_RULE_WHOLE_PATH.rawValue
    } else {
      bytes.insert(UInt8(ascii: "/"), at: 0)
    }
    guard bytes.count > 1, bytes.count <= Int(MT_RULE_PATH_MAX), bytes.last != UInt8(ascii: "/") else {
      throw .systemCall(
        "A rule's path has to name a file in at most \(MT_RULE_PATH_MAX - 1) bytes: \(text.debugDescription)",
        errno: EINVAL)
    }
    path_length = UInt32(bytes.count)
    let first = Int(MT_RULE_PATH_MAX) - bytes.count
    withUnsafeMutableBytes(of: &path) { for (index, byte) in bytes.enumerated() { $0[first + index] = byte } }
    withUnsafeMutableBytes(of: &mask) { for index in first..<$0.count { $0[index] = 0xff } }
  }
}
