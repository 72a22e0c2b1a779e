internal import KernelABI
public import Policy

/// Numbers the steps and images that a policy's rules are for: what the bits of `mt_policy_rule.places` stand for.
struct PlaceNumbers {
  private(set) var steps: [String] = []
  private(set) var images: [ImagePattern] = []

  var isEmpty: Bool { steps.isEmpty && images.isEmpty }

  /// - Throws: if it names more than the kernel side takes
  init(_ policy: Policy) throws(SensorError) {
    for head in policy.heads {
      for step in head.scope.steps where !steps.contains(step) { steps.append(step) }
      for image in head.scope.images where !images.contains(image) { images.append(image) }
    }
    if max(steps.count, images.count) > MT_PLACES_MAX { throw .policyTooLarge("steps or images", Int(MT_PLACES_MAX)) }
  }

  /// The mask of a rule; 0 for all steps and images. What denies is for those that are not known, too.
  func mask(of head: RuleHead) -> UInt64 {
    let unknown = head.action >= .deny ? UInt64(MT_PLACE_UNKNOWN) : 0
    func half(_ numbers: [Int]) -> UInt64 { numbers.reduce(unknown) { $0 | 1 << UInt64($1) } }
    var mask: UInt64 = 0
    if !head.scope.steps.isEmpty { mask |= half(head.scope.steps.compactMap(steps.firstIndex)) }
    if !head.scope.images.isEmpty { mask |= half(head.scope.images.compactMap(images.firstIndex)) << 32 }
    return mask
  }

  /// `mt_policy.images` of a container of this image.
  static func bits(of image: Whereabouts<ImageReference>, _ images: [ImagePattern]) -> UInt32 {
    switch image {
    case .unknown: MT_PLACE_UNKNOWN
    case .nowhere: 0
    case .inside(let image):
      images.enumerated().reduce(0) { $1.element.matches(image) ? $0 | 1 << UInt32($1.offset) : $0 }
    }
  }
}

/// What is known of a container of a job's.
public struct ContainerOrigin: Sendable, Equatable {
  public var image: Whereabouts<ImageReference>
  /// The name of the step that had it made, as the records `MT_STEP` and `MT_CLAIM` have it; 0: not known.
  public var step: UInt64

  public init(image: Whereabouts<ImageReference>, step: UInt64) {
    self.image = image
    self.step = step
  }
}
