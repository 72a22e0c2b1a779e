internal import KernelSensor
internal import Observation
internal import Reporting

/// One sample of `martlet top` for programs, schema `martlet.top/v1`.
public enum TopJSON {
  /// - Parameter seconds: that the rates are averages over.
  public static func write(_ snapshot: TopSnapshot, _ state: TopState, seconds: Double) -> [UInt8] {
    var json = JSONOutput()
    json.object { json in
      json.member("schema", "martlet.top/v1")
      json.member("intervalSeconds", seconds)
      json.member("cpus", snapshot.cpuCount)
      json.newLine()
      json.lines("programs", state.sorted(snapshot.rates)) { write($1, to: &$0) }
      json.newLine()
      json.lines("sensors", snapshot.watchers) { write($1, to: &$0) }
      json.lastLine()
    }
    json.endDocument()
    return json.bytes
  }

  private static func write(_ rate: ProgramRate, to json: inout JSONOutput) {
    json.member("id", rate.program.id)
    json.member("type", rate.program.type)
    json.member("name", rate.program.name)
    json.member("martlet", rate.program.isMartlets)
    json.member("runs", rate.program.runs)
    json.member("nanoseconds", rate.program.nanoseconds)
    json.member("missed", rate.program.missed)
    json.member("verifiedInstructions", rate.program.verifiedInstructions)
    json.member("runsPerSecond", rate.runsPerSecond)
    json.member("nanosecondsPerRun", orNull: rate.nanosecondsPerRun)
    json.member("cpuPercent", rate.cpuPercent)
  }

  private static func write(_ watcher: TopSnapshot.Watcher, to json: inout JSONOutput) {
    json.member("pid", orNull: watcher.process)
    json.member("recordsPerSecond", watcher.recordsPerSecond)
    json.member("lost", watcher.lost)
    json.array("rings") { json in
      for ring in watcher.status.rings {
        json.object { json in
          json.member("ring", ring.kind)
          json.member("cpu", orNull: ring.cpu)
          json.member("bytes", ring.statistics.capacity)
          json.member("availableBytes", ring.statistics.available)
          json.member("highWaterBytes", ring.statistics.highWater)
        }
      }
    }
    json.array("maps") { json in
      for map in watcher.status.maps {
        json.object { json in
          json.member("map", map.name)
          json.member("entries", orNull: map.used)
          json.member("capacity", orNull: map.capacity)
          json.member("refused", map.refused)
        }
      }
    }
    json.array("cpus") { json in
      for (cpu, type, row) in watcher.status.counters.places {
        json.object { json in
          json.member("cpu", cpu)
          json.member("type", type.name)
          json.member("sent", row.sent)
          json.member("deduplicated", row.deduplicated)
          json.member("lost", row.lost)
          json.member("truncated", row.truncated)
        }
      }
    }
    json.array("jobs") { json in
      for job in watcher.jobs {
        json.object { json in
          json.member("job", job.number)
          json.member("processes", job.processes)
          json.member("threads", job.threads)
        }
      }
    }
  }
}
