// SPDX-License-Identifier: Apache-2.0
import KernelABI
import Observation

/// A process of a stream.
struct StreamProcess {
  var pid: UInt32
  var start: UInt64
}

/// Records one after the other, numbered as the kernel side numbers them.
struct RecordSequence {
  private(set) var bytes: [UInt8] = []
  private(set) var count = 0
  var time: UInt64 = 1_000_000_000
  private var sequences: [UInt32] = [0, 0]

  mutating func reserve(records: Int) { bytes.reserveCapacity(records * 160) }

  mutating func append(
    _ type: RecordType, of process: StreamProcess, _ body: some RecordBody, _ strings: [(RecordString, String)] = [],
    flags: RecordFlags = []
  ) {
    var record = RecordBuilder(type, time: time, tgid: process.pid, leaderStart: process.start)
    record.flags = flags
    let ring = type.isCritical ? 0 : 1
    sequences[ring] &+= 1
    record.sequence = sequences[ring]
    record.setBody(body)
    for (name, text) in strings { record.setString(name, text) }
    record.append(to: &bytes)
    count += 1
  }
}

/// SplitMix64 with a fixed start: a stream is the same in each run.
struct SplitMix {
  private var state: UInt64 = 0x6d61_7274_6c65_7421

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  /// From 0 to `limit` - 1.
  mutating func draw(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }
}
