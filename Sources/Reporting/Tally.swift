internal import Jobs

/// The few numbers that every form of the report leads with, counted once and the same way.
struct Tally {
  var processes = 0
  /// Successful execs.
  var executions = 0
  var failures = 0
  var outlived = 0
  /// Remote ends that were talked to or tried, over TCP, UDP and others; unix sockets and listeners are not among them.
  var connections = 0
  var refused = 0
  var listeners = 0
  var filesWritten = 0
  var filesCreated = 0
  var filesDeleted = 0
  var lost: UInt64 = 0

  init(_ input: ReportInput, tree: ProcessTree) {
    processes = tree.processes.count
    failures = tree.failures
    for process in tree.processes {
      executions += process.images.count
      if process.outlivedCommand { outlived += 1 }
    }
    for flow in input.snapshot.flows {
      switch flow.kind {
      case .tcp, .udp, .other:
        switch flow.state {
        case .bound, .listening: listeners += 1
        case .failed:
          connections += 1
          refused += 1
        case .requested, .established, .closed: connections += 1
        }
      case .listen: listeners += 1
      case .unix: break
      }
    }
    for file in input.snapshot.files {
      if file.wasWritten { filesWritten += 1 }
      if file.wasCreated { filesCreated += 1 }
      if file.isDeleted { filesDeleted += 1 }
    }
    lost = input.completeness.lostCritical &+ input.completeness.lostBulk
  }
}
