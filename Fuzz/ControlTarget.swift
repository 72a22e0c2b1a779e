import Glibc

/// What clients send to the agent's socket, what is in its journal, what runtimes were told of pods, and the JSON that both are made of: any bytes give an answer, the same one
/// however they arrive, and no token matches but the right one.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = Array(UnsafeBufferPointer(start: data, count: count))
  let whole = ControlRequest.parse(input)
  for split in Set([count / 2, count - min(1, count)]) {
    switch ControlRequest.parse(input[..<split]) {
    case .incomplete: break
    // What was decided on a part of it, more bytes do not change.
    case let decided: require(decided == whole, "a different answer with more bytes")
    }
  }
  if case .request(.stop(let token)) = whole {
    let right = ControlToken(text: "0123456789abcdef0123456789abcdef")
    require(right.matches(token) == (token == Array(right.text.utf8)), "the token")
  }
  if let value = JSONValue(parsing: input) {
    check(value, depth: 16)
    if let labels = PodLabels(annotations: value, cgroup: input) {
      require(PodLabels.decode(labels.encoded(id: "id")).labels?.pod == labels.pod, "what is told of a pod")
    }
  }
  _ = PodLabels.decode(input)
  _ = JournalText.parse(input)
  return 0
}

/// Strings are text, and nothing is nested deeper than it may be.
private func check(_ value: JSONValue, depth: Int) {
  switch value {
  case .string(let bytes): require(String(validating: bytes, as: UTF8.self) != nil, "a string that is no text")
  case .array(let elements):
    require(depth > 0, "nested too deeply")
    for element in elements { check(element, depth: depth - 1) }
  case .object(let members):
    require(depth > 0, "nested too deeply")
    for member in members {
      require(String(validating: member.name, as: UTF8.self) != nil, "a name that is no text")
      check(member.value, depth: depth - 1)
    }
  case .integer(let magnitude, let isNegative):
    let isBelowZero = isNegative && magnitude != 0
    if let signed = value.signed { require((signed < 0) == isBelowZero, "a sign") }
    require(value.unsigned == (isBelowZero ? nil : magnitude), "a magnitude")
  case .null, .bool, .number: break
  }
}
