public import Observation

/// The fold of one job's records: process tree, files, flows, changes and the ways that data took.
///
/// Owned by one thread. Takes the records in order of time; a few that come late do no harm. Nothing is allocated
/// for a record but the amortised growth of tables, and those end at the limits in the options.
///
/// ```swift
/// let job = JobState(options: JobOptions(rootProcess: 4711))
/// job.apply(record)
/// log.append(record, job.applied)
/// // …
/// let snapshot = job.snapshot()
/// ```
public final class JobState {
  /// Behind a pointer: a class checks at every use of a stored property that no other use of it is going on, which
  /// costs as much as finding a file.
  private let fold: UnsafeMutablePointer<Fold>
  private var workspace: FoldWorkspace

  /// - Parameter workspace: shared with other jobs of the same thread, with the masker that the options have; nil: one
  ///   of its own.
  public init(options: JobOptions, workspace: FoldWorkspace? = nil) {
    let workspace = workspace ?? FoldWorkspace(masker: options.masker)
    self.workspace = workspace
    fold = .allocate(capacity: 1)
    fold.initialize(to: Fold(options: options, workspace: workspace.memory))
  }

  /// From here on another thread has it, whose workspace this is.
  public func move(to workspace: FoldWorkspace) {
    fold.pointee.use(workspace.memory)
    self.workspace = workspace
  }

  deinit {
    fold.deinitialize(count: 1)
    fold.deallocate()
  }

  /// Folds one record.
  public func apply(_ record: RecordView) { fold.pointee.apply(record) }

  /// About the record just applied; pointers in it are valid until the next ``apply(_:)``, and those that lead into
  /// the record as long as its bytes.
  public var applied: Applied { fold.pointee.applied }

  /// The command that `run` started has ended: what still runs now outlived it.
  /// - Parameter time: nanoseconds of CLOCK_BOOTTIME.
  public func commandEnded(at time: UInt64) { fold.pointee.commandEnded(at: time) }

  /// What to hash for an exec that was just applied; nil if its image's digest is known or on its way, or files are not
  /// to be hashed.
  public func digestRequest(for exec: RecordView) -> DigestRequest? { fold.pointee.digestRequest(for: exec) }

  /// The regular files that the job wrote and that are there still, to be hashed at its end. Those that can still be
  /// written say so in `why`.
  public func writtenFiles() -> [DigestRequest] { fold.pointee.writtenFiles() }

  /// All that is known now, as values. Takes time and memory in proportion to the job.
  public func snapshot() -> JobSnapshot { fold.pointee.snapshot() }

  /// Keeps no more than this from now on, instead of what the options say; what comes beyond is counted.
  public func limit(bytes: Int) { fold.pointee.limit = bytes }

  /// A process' id in the snapshot and its step, as far as they are known; 0: not.
  public func process(_ pid: UInt32, start: UInt64) -> (id: UInt32, step: UInt32) {
    let process = fold.pointee.findProcess(pid, start)
    return (process, process == 0 ? 0 : fold.pointee.processes[process].pointee.step)
  }

  /// Memory that the fold uses, in bytes.
  public var bytes: Int { fold.pointee.bytes }
}
