import Export
import KernelSensor
import Recording

/// Where the metrics of a run go.
struct MetricsPlaces {
  var file: String?
  var listen: ListenAddress?

  /// nil if they go nowhere.
  func open() throws(ExportError) -> MetricsExporter? {
    if file == nil, listen == nil { return nil }
    let exporter = try MetricsExporter(file: file, listen: listen)
    if listen?.port == 0, let address = exporter.address {
      Message.say("metrics are at http://\(address)/metrics")
    }
    return exporter
  }
}

/// The metrics of one run on their way out.
///
/// ``publish(_:)`` belongs to the reader's thread, ``finish(_:endedAt:)`` comes after that has ended.
final class RunMetricsExport: @unchecked Sendable {
  private let exporter: MetricsExporter
  private var metrics: RunMetrics
  private let clockOffset: Int64

  init(_ exporter: MetricsExporter, report: RunReport, first: SensorStatus) throws(ExportError) {
    self.exporter = exporter
    clockOffset = report.clockOffset
    metrics = RunMetrics(
      version: Version.current, kernelRelease: KernelName().release,
      startedAt: Self.seconds(report.startedAt, clockOffset), status: first)
    exporter.publish(metrics)
    try exporter.start()
  }

  func publish(_ status: SensorStatus) {
    metrics.status = status
    exporter.publish(metrics)
  }

  /// What cannot be written is said, and changes nothing about the run.
  func finish(_ status: SensorStatus, endedAt: UInt64) {
    metrics.status = status
    metrics.endedAt = Self.seconds(endedAt, clockOffset)
    do { try exporter.finish(metrics) } catch { Message.say("metrics: \(error)") }
  }

  /// Since 1970, of CLOCK_BOOTTIME.
  private static func seconds(_ boottime: UInt64, _ offset: Int64) -> Double {
    // To the millisecond, which a double still holds.
    Double((Int64(clamping: boottime) &+ offset) / 1_000_000) / 1000
  }
}
