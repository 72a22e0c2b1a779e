internal import KernelSensor
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
    if let time = rate.nanosecondsPerRun {
      json.member("nanosecondsPerRun", time)
    } else {
      json.null("nanosecondsPerRun")
    }
    json.member("cpuPercent", rate.cpuPercent)
  }

  private static func write(_ watcher: TopSnapshot.Watcher, to json: inout JSONOutput) {
    if let process = watcher.process { json.member("pid", process) } else { json.null("pid") }
    json.member("recordsPerSecond", watcher.recordsPerSecond)
    json.member("lost", watcher.lost)
    json.array("rings") { json in
      for ring in watcher.status.rings {
        json.object { json in
          json.member("ring", ring.kind)
          if let cpu = ring.cpu { json.member("cpu", cpu) } else { json.null("cpu") }
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
          if let used = map.used { json.member("entries", used) } else { json.null("entries") }
          if let capacity = map.capacity { json.member("capacity", capacity) } else { json.null("capacity") }
          json.member("refused", map.refused)
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
