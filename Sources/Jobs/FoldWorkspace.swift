internal import CSystem
public import Observation

/// What folding a record takes besides what is kept of it: some hundred kilobytes of buffers and remembered verdicts.
///
/// Jobs that one thread folds can share it, as it holds nothing from one record to the next but whether a name has a
/// secret in it, under a keyed hash of the name.
public final class FoldWorkspace {
  struct Memory: ~Copyable {
    let hash = KeyedHash()
    var masking: Masking
    let scratch = UnsafeMutableRawPointer.allocate(byteCount: Applied.scratchSize, alignment: 16)
    let scratch2 = UnsafeMutableRawPointer.allocate(byteCount: Applied.scratchSize, alignment: 16)
    /// A path to ask about, and the answer.
    let path = UnsafeMutablePointer<CChar>.allocate(capacity: PathResolver.bufferSize)
    let result = UnsafeMutablePointer<CChar>.allocate(capacity: PathResolver.bufferSize)
    /// Records have pids of the initial namespace, which /proc has only there.
    let knowsProcesses = mt_in_initial_pid_namespace() == 1

    init(masker: SecretMasker) { masking = Masking(masker: masker) }

    deinit {
      scratch.deallocate()
      scratch2.deallocate()
      path.deallocate()
      result.deallocate()
    }
  }

  let memory: UnsafeMutablePointer<Memory>

  public init(masker: SecretMasker) {
    memory = .allocate(capacity: 1)
    memory.initialize(to: Memory(masker: masker))
  }

  deinit {
    memory.deinitialize(count: 1)
    memory.deallocate()
  }
}

@available(*, unavailable)
extension FoldWorkspace: Sendable {}
