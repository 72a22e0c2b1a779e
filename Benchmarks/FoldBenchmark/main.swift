// SPDX-License-Identifier: Apache-2.0
// Decodes and folds a stream of records on one core and counts what that allocates.
//
// fold-benchmark [RECORDS]      5,000,000 by default
// fold-benchmark STORM EVENTS [LOG]
//                               a storm's records, decoded, folded and written to an event log, in LOG if it is given:
//                               for callgrind, see Benchmarks/user-space
//
// Exit status: 0 at least 2 million records a second and at most one allocation in 1,000 records; 1 not so, or a
// record was not folded; 64 wrong arguments.
import AllocationCounter
import EventLog
import Glibc
import Jobs
import Observation
import Recording

let leastRecordsPerSecond = 2_000_000.0
let mostAllocationsPerRecord = 0.001

/// Nanoseconds of CPU time of this thread: what else runs on the machine does not count.
func threadTime() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
  return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

struct Outcome {
  var malformed = 0
  var nanoseconds: UInt64 = 0
  var allocations: UInt64 = 0
}

func fold(_ stream: BuildStream, into state: JobState) -> Outcome {
  var outcome = Outcome()
  stream.records.bytes.withUnsafeBytes { bytes in
    let allocationsBefore = allocation_count()
    let begin = threadTime()
    var malformed = 0
    let rest = RecordStream.forEach(in: bytes) { record in
      do {
        state.apply(try RecordView(validating: record))
      } catch {
        malformed += 1
      }
    }
    outcome.nanoseconds = threadTime() - begin
    outcome.allocations = allocation_count() - allocationsBefore
    outcome.malformed = malformed + (rest == 0 ? 0 : 1)
  }
  return outcome
}

func makeState() -> JobState {
  var options = JobOptions(rootProcess: 1000)
  // The stream's files do not exist here: there is nothing to look up.
  options.resolvesPaths = false
  // All of it is to be folded, not cut off by the limits that are for hostile jobs.
  options.limits.processes = 4_000_000
  options.limits.files = 8_000_000
  options.limits.changes = 8_000_000
  options.limits.bytes = 16 << 30
  return JobState(options: options)
}

/// `value` with `digits` decimals; enough of a formatter for five numbers.
func fixed(_ value: Double, _ digits: Int) -> String {
  var scale = 1.0
  for _ in 0..<digits { scale *= 10 }
  let scaled = Int64((value * scale).rounded())
  guard digits > 0 else { return String(scaled) }
  let fraction = String(abs(scaled) % Int64(scale))
  return "\(scaled / Int64(scale))." + String(repeating: "0", count: digits - fraction.count) + fraction
}

/// The way of a storm's records in user space, from the ring on. An error ends the program.
@inline(never)
func measuredStorm(_ records: UnsafeRawBufferPointer, to path: String) -> Bool {
  let file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
  guard file >= 0 else { return false }
  defer { close(file) }
  var options = EventLogOptions()
  options.clockOffset = 1_795_968_000_000_000_000
  guard let log = try? EventLogWriter(fileDescriptor: file, options: options) else { return false }
  var recorder = JobRecorder(state: makeState(), log: log)
  var malformed = 0
  let rest = RecordStream.forEach(in: records) { bytes in
    guard let record = try? RecordView(validating: bytes) else {
      malformed += 1
      return
    }
    recorder.take(record)
  }
  let recorded = recorder.finish()
  return malformed == 0 && rest == 0 && recorded.logError == nil && recorded.log?.cutLines == 0
}

if CommandLine.arguments.count >= 3, CommandLine.arguments.count <= 4,
  let storm = Storm(rawValue: CommandLine.arguments[1]), let events = Int(CommandLine.arguments[2]), events > 0
{
  let stream = StormStream(storm, events: events)
  let path = CommandLine.arguments.count == 4 ? CommandLine.arguments[3] : "/dev/null"
  let isWhole = stream.records.bytes.withUnsafeBytes { measuredStorm($0, to: path) }
  if !isWhole { print("FAILED: not all records were folded and written") }
  exit(isWhole ? 0 : 1)
}

guard CommandLine.arguments.count <= 2,
  let count = CommandLine.arguments.count == 2 ? Int(CommandLine.arguments[1]) : 5_000_000, count > 0
else {
  print(
    "usage: fold-benchmark [RECORDS]\n       fold-benchmark \(Storm.allCases.map(\.rawValue).joined(separator: "|")) EVENTS [LOG]"
  )
  exit(64)
}

let stream = BuildStream(records: count)
// Page faults of first use, and the counter itself, are not to be measured.
let warmUp = fold(BuildStream(records: min(count, 100_000)), into: makeState())
let state = makeState()
let outcome = fold(stream, into: state)

let seconds = Double(outcome.nanoseconds) / 1e9
let rate = Double(stream.records.count) / seconds
let allocations = Double(outcome.allocations) / Double(stream.records.count)
let snapshot = state.snapshot()
let size = Double(stream.records.bytes.count) / Double(stream.records.count)
print("records            \(stream.records.count), of \(fixed(size, 0)) bytes")
print("processes          \(stream.processes)")
print("seconds            \(fixed(seconds, 3))")
print("records a second   \(fixed(rate / 1e6, 2)) million, \(fixed(1e9 / rate, 0)) ns each")
print("allocations        \(outcome.allocations), \(fixed(allocations, 6)) a record")

var failures: [String] = []
if outcome.malformed + warmUp.malformed > 0 { failures.append("\(outcome.malformed) records were malformed") }
if snapshot.records != UInt64(stream.records.count) || !snapshot.notKept.isEmpty {
  failures.append("\(snapshot.records) records were folded; left out: \(snapshot.notKept)")
}
if snapshot.processes.count <= stream.processes {
  failures.append("\(snapshot.processes.count) processes came out")
}
if rate < leastRecordsPerSecond { failures.append("slower than \(fixed(leastRecordsPerSecond, 0)) records a second") }
if allocations > mostAllocationsPerRecord {
  failures.append("more than \(fixed(mostAllocationsPerRecord, 3)) allocations a record")
}
for failure in failures { print("FAILED: \(failure)") }
exit(failures.isEmpty ? 0 : 1)
