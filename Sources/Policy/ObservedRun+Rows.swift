public import Observation

/// Rows of a report, as far as a policy can speak of them.
extension ObservedRun {
  public struct Process: Sendable {
    public var id: UInt64
    public var parent: UInt64
    /// RFC 3339, and compared as text.
    public var startedAt: String
    /// The last image, or what its parent had.
    public var executable: String
    public var images: [Image]
    /// The name of its step, and the image of its container.
    public var step = Whereabouts<String>.unknown
    public var container = Whereabouts<ImageReference>.unknown

    public init(id: UInt64, parent: UInt64, startedAt: String, executable: String, images: [Image]) {
      self.id = id
      self.parent = parent
      self.startedAt = startedAt
      self.executable = executable
      self.images = images
    }
  }

  public struct Image: Sendable {
    public var id: UInt64
    /// RFC 3339, and compared as text.
    public var at: String
    public var executable: String
    /// As it was given to exec; nil: the same.
    public var filename: String?
    public var workingDirectory: String
    /// memfd, or deleted.
    public var isWithoutPlace = false
    /// 32 bytes; nil: not known.
    public var sha256: [UInt8]?

    public init(id: UInt64, at: String, executable: String, filename: String?, workingDirectory: String) {
      self.id = id
      self.at = at
      self.executable = executable
      self.filename = filename
      self.workingDirectory = workingDirectory
    }
  }

  public struct Flow: Sendable {
    /// As a report has it: `tcp`, `unix`, `listen`…
    public var kind: String
    public var isInbound = false
    public var process: UInt64
    public var image: UInt64?
    public var localAddress = ""
    public var localPort: UInt16 = 0
    public var remoteAddress: String
    public var remotePort: UInt16 = 0
    /// IPPROTO_*; nil: not known.
    public var protocolNumber: UInt64?
    /// What the address was asked for by.
    public var host: String?
    /// Whom it named in its first bytes.
    public var serverName: String?
    /// That came with it; 0: none.
    public var serverNamePort: UInt16 = 0
    public var count: UInt64 = 1

    public init(kind: String, process: UInt64, image: UInt64?, remoteAddress: String) {
      self.kind = kind
      self.process = process
      self.image = image
      self.remoteAddress = remoteAddress
    }
  }

  /// That was asked for.
  public struct AskedName: Sendable {
    public var name: String
    public var addresses: [String]

    public init(name: String, addresses: [String]) {
      self.name = name
      self.addresses = addresses
    }
  }

  public struct File: Sendable {
    public var paths: [String]
    public var isCreated: Bool
    /// Processes.
    public var writers: [UInt64]
    public var readers: [UInt64]

    public init(paths: [String], isCreated: Bool, writers: [UInt64], readers: [UInt64]) {
      self.paths = paths
      self.isCreated = isCreated
      self.writers = writers
      self.readers = readers
    }
  }

  /// Of a name.
  public struct Change: Sendable {
    /// As a report has it: `rename`, `unlink`…
    public var kind: String
    public var process: UInt64
    public var path: String?
    public var target: String?

    public init(kind: String, process: UInt64, path: String?, target: String?) {
      self.kind = kind
      self.process = process
      self.path = path
      self.target = target
    }
  }

  /// What concerns security.
  public struct Action: Sendable {
    public var kind: SecurityKind
    public var process: UInt64
    public var image: UInt64?
    /// The process that it was about.
    public var target: UInt64?
    public var count: UInt64

    public init(kind: SecurityKind, process: UInt64, image: UInt64?, target: UInt64?, count: UInt64) {
      self.kind = kind
      self.process = process
      self.image = image
      self.target = target
      self.count = count
    }
  }
}
