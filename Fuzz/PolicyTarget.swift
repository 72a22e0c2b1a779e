import Glibc

/// Two policies with 0xFF between them: each is read as a whole or refused with a place in it, what was read can be
/// written and is the same then, and together they are no wider than either.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = Array(UnsafeBufferPointer(start: data, count: count))
  let policies = input.split(separator: 0xff, maxSplits: 1).compactMap { read(Array($0)) }
  if let one = policies.first, let other = policies.last, let both = try? one.narrowed(by: other) {
    let again = try? Policy.read(Array(both.yaml.utf8), file: "both")
    require(again?.withoutPlaces == both, "narrowed, written and read: \(both.yaml)")
    for (both, parts) in zip(decisions(both), zip(decisions(one), decisions(other))) {
      require(both >= max(parts.0, parts.1), "wider")
    }
    let unknown = [both, one, other].map { decisions($0, isUnknown: true).map { min($0, .deny) } }
    for index in unknown[0].indices {
      require(unknown[0][index] >= max(unknown[1][index], unknown[2][index]), "wider where nothing is known")
    }
  }
  return 0
}

private func read(_ bytes: [UInt8]) -> Policy? {
  let lines = bytes.count { $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") } + bytes.count / 2 + 2
  do {
    let policy = try Policy.read(bytes, file: "f")
    require(PolicyLimits.objection(to: policy) == nil, "beyond the limits")
    let heads = policy.heads
    require(heads.map(\.number).sorted() == Array(1..<UInt32(heads.count + 1)), "numbers")
    require(heads.allSatisfy { $0.place != nil }, "a rule without a place")
    let again = try? Policy.read(Array(policy.yaml.utf8), file: "again")
    require(again?.withoutPlaces == policy.withoutPlaces && again?.digest == policy.digest, "another: \(policy.yaml)")
    return policy
  } catch {
    require(!error.problems.isEmpty && error.problems.count <= Problems.limit, "no reason")
    for problem in error.problems {
      require((1...lines).contains(problem.place.line) && problem.place.column >= 1, "\(problem.place)")
      require(!problem.message.unicodeScalars.contains(where: VisibleText.isHidden), problem.message)
    }
    return nil
  }
}

/// Of a few things that may match what a seed's rules name.
private func decisions(_ policy: Policy, isUnknown: Bool = false) -> [PolicyAction] {
  let images = ["alpine:3", "ghcr.io/a/b@sha256:\(String(repeating: "0", count: 64))"].compactMap { ImageReference($0) }
  let actors = zip(["/usr/bin/curl", "/opt/a"], images).map { executable, image in
    PolicyActor(
      executable: executable, ancestors: ["/usr/bin/make"], step: isUnknown ? .unknown : .inside("build"),
      image: isUnknown ? .unknown : .inside(image))
  }
  let destinations = [("10.0.0.1", 443), ("192.0.2.1", 80)].map { address, port in
    PolicyDestination(IPAddress(address) ?? IPAddress(v4: 0), port: port, names: ["a.example.org"])
  }
  return actors.flatMap { actor in
    var all = destinations.map { policy.decide(connect: $0, by: actor).action }
    for path in ["/tmp/x", "/usr/bin/ls"] {
      all.append(policy.decide(execOf: PolicyExecutable(path: path), by: actor).action)
      for access in FileRule.Access.allCases {
        all += [true, false].map { isIn in policy.decide(access, path, by: actor) { _ in isIn }.action }
      }
    }
    all += SystemRule.Deed.allCases.map { policy.decide($0, by: actor).action }
    return all + [policy.decide(memoryOf: "Runner.Worker", by: actor).action]
  }
}
