public import Observation

/// What the fold keeps of a job, and how much.
public struct JobOptions: Sendable {
  /// Limits that keep a hostile job from using up the memory. What comes after is counted.
  public struct Limits: Sendable {
    public var files = 1_000_000
    public var processes = 262_144
    public var flows = 262_144
    public var changes = 1_000_000
    public var copies = 262_144
    /// That concern security, equal ones counted as one.
    public var actions = 65_536
    public var hosts = 65_536
    public var denials = 65_536
    /// Equal ones of a connection counted as one.
    public var requests = 65_536
    /// Of everything together, in bytes. Files and names stop at three quarters of it, so that a flood of them
    /// does not hide a process or a connection.
    public var bytes = 256 << 20

    public init() {}
  }

  /// Masks arguments and paths; its mode says how arguments are kept.
  public var masker: SecretMasker
  /// The job's first process, as the initial pid namespace numbers it.
  public var rootProcess: UInt32
  public var limits = Limits()
  /// Put files that were only read into the snapshot too; those that hold credentials are there anyway.
  public var listsFilesRead = false
  /// The kernel side counts what is read and written through each open file: what it tells nothing of is 0.
  public var countsBytes = false
  /// Files are hashed that were executed or written: what is told of them, and what nothing is told of, is in the snapshot.
  public var hashesFiles = false
  /// What is handed to TLS is looked at: requests are in the snapshot, and if there are none, that.
  public var readsRequests = false
  /// Look at the file system to resolve paths with symbolic links. Off: such paths stay unresolved.
  public var resolvesPaths = true
  /// The records were made from an event log: absolute paths in them are what the kernel saw.
  public var pathsAreCanonical = false

  public init(rootProcess: UInt32, masker: SecretMasker = SecretMasker()) {
    self.rootProcess = rootProcess
    self.masker = masker
  }
}
