internal import Glibc
internal import Supervision

/// How the agent keeps its place on a machine that is busy with the jobs that it watches.
///
/// Every job is a session, and since the kernel groups by session (autogroup), or by a service's control group, each
/// of them has as much of a CPU as the agent, whatever its threads' nice values are: beside 200 busy jobs the reader
/// got a hundredth of a CPU, and the rings filled up.
enum Priority {
  /// For the agent as a whole: a status and a report are asked for when the machine is busy.
  ///
  /// To be called by the main thread, whose nice value threads inherit that begin after that.
  static func raise() {
    setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, -10)
    // Of a session with others in it, as in a terminal, the share is not ours to change.
    let leader = getsid(0)
    guard leader == getpid() || (kill(leader, 0) != 0 && errno == ESRCH) else { return }
    let file = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC)
    // Without autogroups there is no such file, and the threads' own values count.
    guard file >= 0 else { return }
    _ = write(file, "-10", 3)
    close(file)
  }

  /// For the thread that reads the rings: before every job, as what it does not read in time is lost.
  ///
  /// It takes what the jobs' own events ask for and then sleeps, and what it takes they cannot use to make more.
  static func runFirst() throws(SystemError) {
    var parameters = sched_param(sched_priority: 1)
    let code = pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameters)
    guard code == 0 else { throw SystemError("give the reader's thread real-time priority", code: code) }
  }
}
