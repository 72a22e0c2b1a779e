public enum Version {
  /// Semantic version of the command line, the report and the event log together.
  public static let current = "0.1.0"
}
