import Glibc
import KernelABI
import KernelSensor
import Observation
import Testing

extension KernelTests {
  @Suite struct Network {
    struct Talk: Sendable, CustomTestStringConvertible {
      var local: String
      var remote: String
      var seen: String { remote.hasPrefix("::ffff:") ? String(remote.dropFirst(7)) : remote }
      var testDescription: String { "\(remote) -> \(local)" }
    }

    @Test(arguments: [
      Talk(local: "127.0.0.1", remote: "127.0.0.1"), Talk(local: "::1", remote: "::1"),
      Talk(local: "127.0.0.1", remote: "::ffff:127.0.0.1"),
    ])
    func bothEndsOfAConnection(talk: Talk) throws {
      let act = try Bench.act("tcp", talk.local, talk.remote) { act in
        act.all(.tcpClose) { $0.sock.established == 1 }.count == 2
      }
      let server = UInt16(try act.number("server-port"))
      let client = UInt16(try act.number("client-port"))

      let listen = try act.only(.listen).sock
      #expect(listen.local_port == server && listen.protocol == UInt16(IPPROTO_TCP))
      let asked = try act.only(.connect)
      #expect(asked.remoteAddress == talk.seen && asked.sock.remote_port == server, "\(asked)")
      #expect(asked.sock.protocol == UInt16(IPPROTO_TCP) && asked.sock.type == UInt32(SOCK_STREAM.rawValue))
      #expect(asked.pid == act.pid)
      let closed = try act.only(.tcpClose) { $0.sock.sock == asked.sock.sock }
      let clientEnd = closed.sock
      #expect(Int(clientEnd.sent) == (try act.number("sent")), "\(closed)")
      #expect(Int(clientEnd.received) == (try act.number("received")), "\(closed)")
      #expect(clientEnd.established == 1 && clientEnd.inbound == 0 && clientEnd.error == 0)
      #expect(closed.remoteAddress == talk.seen && clientEnd.remote_port == server && clientEnd.local_port == client)
      #expect(clientEnd.handshake > 0 && clientEnd.duration > clientEnd.handshake)
      let released = try act.only(.tcpClose) { $0.sock.sock != asked.sock.sock }
      #expect(released.remoteAddress == talk.seen && released.pid == act.pid, "\(released)")
      let serverEnd = released.sock
      #expect(Int(serverEnd.sent) == (try act.number("received")), "\(released)")
      #expect(Int(serverEnd.received) == (try act.number("sent")), "\(released)")
      #expect(serverEnd.established == 1 && serverEnd.inbound == 1 && serverEnd.duration > 0)
      #expect(serverEnd.local_port == server && serverEnd.remote_port == client && serverEnd.handshake == 0)
      act.none(.flowOpen)
    }

    @Test(arguments: ["127.0.0.1", "::1"]) func refusedConnection(address: String) throws {
      let act = try Bench.act("refused-tcp", address) { !$0.all(.tcpClose) { $0.sock.error != 0 }.isEmpty }
      let port = UInt16(try act.number("port"))
      let asked = try act.only(.connect)
      #expect(asked.remoteAddress == address && asked.sock.remote_port == port)
      let refused = try act.only(.tcpClose) { $0.sock.sock == asked.sock.sock }
      let end = refused.sock
      #expect(end.established == 0 && end.handshake == 0)
      #expect(refused.remoteAddress == address && end.remote_port == port, "\(refused)")
      #expect(Int(end.error) == (try act.number("error")))
    }

    @Test func connectionOpenedByItsFirstBytes() throws {
      let act = try Bench.act("fast-open") { $0.all(.tcpClose).count == 2 }
      let server = UInt16(try act.number("server-port"))
      let asked = try act.only(.connect)
      #expect(asked.sock.remote_port == server && asked.remoteAddress == "127.0.0.1")
      let made = try act.only(.tcpClose) { $0.sock.inbound == 0 }
      #expect(made.sock.sock == asked.sock.sock && made.sock.established == 1 && made.sock.handshake > 0)
      let accepted = try act.only(.tcpClose) { $0.sock.inbound == 1 }
      #expect(accepted.sock.remote_port == UInt16(try act.number("client-port")) && accepted.sock.received == 10)
    }

    @Test func connectionThatDoesNotWait() throws {
      let act = try Bench.act("nonblocking") { $0.all(.tcpClose).count == 2 }
      let asked = try act.only(.connect)
      let made = try act.only(.tcpClose) { $0.sock.sock == asked.sock.sock }
      #expect(made.sock.local_port == UInt16(try act.number("client-port")))
      // Established by the softirq that answers: the record must still be its owner's.
      #expect(made.pid == act.pid && made.sock.established == 1 && made.sock.handshake > 0)
    }

    @Test func connectionThatDoesNotWaitAndIsRefused() throws {
      let act = try Bench.act("refused-later") { !$0.all(.tcpClose).isEmpty }
      let end = try act.only(.tcpClose)
      #expect(end.remoteText == "127.0.0.1:\(try act.number("port"))")
      #expect(Int(end.sock.error) == (try act.number("error")) && end.sock.error != 0)
      #expect(end.sock.sock == (try act.only(.connect)).sock.sock && end.sock.established == 0)
    }

    /// A connect that fails before its first packet changes no state of TCP's, and leaves no address behind.
    @Test func eachAttemptOfASocketHasItsEnd() throws {
      let act = try Bench.act("tries") { $0.all(.tcpClose).count == 4 }
      let asked = act.all(.connect)
      #expect(asked.count == 3 && Set(asked.map(\.sock.sock)).count == 1, "\(act.summary)")
      #expect(asked.allSatisfy { $0.flags.contains(.continued) })
      let ends = act.all(.tcpClose) { $0.sock.inbound == 0 }
      #expect(ends.map(\.remoteText) == asked.map(\.remoteText), "\(act.summary)")
      #expect(ends.map(\.sock.established) == [0, 0, 1], "\(act.summary)")
      #expect(ends.map(\.sock.error) == [0, Int32(try act.number("error")), 0], "\(act.summary)")
    }

    @Test(arguments: ["accept4", "socketcall"]) func acceptedByA32BitCall(how: String) throws {
      let act = try Bench.act("accept", how) { $0.all(.tcpClose).count == 2 }
      let accepted = try act.only(.tcpClose) { $0.sock.inbound == 1 }
      #expect(accepted.sock.remote_port == UInt16(try act.number("client-port")) && accepted.pid == act.pid)
      #expect(accepted.flags == .compat)
    }

    @Test func acceptedByAChildThatRunsAnotherProgram() throws {
      let act = try Bench.act("accept", "child") { $0.all(.tcpClose).count == 2 }
      let accepted = try act.only(.tcpClose) { $0.sock.inbound == 1 }
      #expect(accepted.pid == (try act.number("child")))
      #expect(accepted.sock.remote_port == UInt16(try act.number("client-port")))
      let exec = try act.only(.exec) { $0.pid == accepted.pid }
      #expect(accepted.header.time - accepted.sock.duration < exec.header.time)
      #expect(accepted.header.time > exec.header.time)
    }

    @Test func connectionsThatAreOpenWhenTheSensorGoes() throws {
      let act = try Bench.held("held")
      let server = UInt16(try act.number("server-port"))
      let child = try act.number("child")
      #expect(act.all(.connect).count == 4 && act.all(.tcpClose).count == 2, "\(act.summary)")
      #expect(act.all(.connect) { $0.flags.contains(.continued) }.count == 4)

      let accepted = try act.only(.flowOpen) { $0.sock.inbound == 1 }
      #expect(accepted.pid == child && accepted.sock.local_port == server && accepted.sock.established == 1)
      #expect(accepted.sock.remote_port == UInt16(try act.number("kept")) && accepted.sock.sent == 3)
      let open = act.all(.flowOpen) { $0.sock.inbound == 0 }
      #expect(open.allSatisfy { $0.pid == act.pid && $0.sock.remote_port == server }, "\(act.summary)")
      let ports = try ["kept", "waiting", "unanswered"].map { UInt16(try act.number($0)) }
      #expect(open.map(\.sock.local_port).sorted() == ports.sorted(), "\(act.summary)")
      let unanswered = try act.only(.flowOpen) { $0.sock.local_port == ports[2] }
      #expect(unanswered.sock.established == 0 && unanswered.sock.handshake == 0)
      #expect(open.filter { $0.sock.established == 1 && $0.sock.handshake > 0 }.count == 2)
      #expect(Set(open.map(\.sock.sock)).isSubset(of: act.all(.connect).map(\.sock.sock)))
    }

    @Test(arguments: ["sendto", "sendmsg"]) func firstDatagramToAPlace(kind: String) throws {
      let act = try Bench.act("udp", kind)
      let send = try act.only(.udpSend)
      #expect(send.remoteText == "127.0.0.1:\(try act.number("server-port"))")
      #expect(send.sock.protocol == UInt16(IPPROTO_UDP) && send.sock.type == UInt32(SOCK_DGRAM.rawValue))
    }

    @Test func datagramByIPv6() throws {
      let act = try Bench.act("udp", "sendto", "::1")
      let send = try act.only(.udpSend)
      #expect(send.remoteText == "::1:\(try act.number("server-port"))")
      #expect(send.sock.family == UInt16(AF_INET6))
    }

    @Test func oneCallToTwoPlaces() throws {
      let act = try Bench.act("udp", "sendmmsg")
      let ports = Set(act.all(.udpSend).map(\.sock.remote_port))
      #expect(ports == [UInt16(try act.number("server-port")), UInt16(try act.number("other-port"))], "\(act.summary)")
      #expect(act.all(.udpSend).count == 2)
    }

    @Test func connectedDatagramSocket() throws {
      let act = try Bench.act("udp", "connected")
      let asked = try act.only(.connect)
      #expect(asked.remoteText == "127.0.0.1:\(try act.number("server-port"))")
      #expect(asked.sock.protocol == UInt16(IPPROTO_UDP))
    }

    @Test(arguments: ["127.0.0.1", "::1"]) func boundAndListening(address: String) throws {
      let act = try Bench.act("bind", address)
      let port = UInt16(try act.number("server-port"))
      let bound = try act.only(.bind)
      #expect(bound.localAddress == address && bound.sock.local_port == port, "\(bound)")
      let listening = try act.only(.listen)
      #expect(listening.localAddress == address && listening.sock.local_port == port, "\(listening)")
      #expect(listening.sock.sock == bound.sock.sock)
    }

    @Test(arguments: ["raw", "raw6", "packet"]) func socketOfAnotherKind(kind: String) throws {
      let act = try Bench.act("socket", kind)
      let sock = try act.only(.socket).sock
      #expect(Int(sock.family) == (try act.number("family")))
      #expect(Int(sock.type) == (try act.number("type")))
      #expect(Int(sock.protocol) == (try act.number("protocol")))
    }

    /// Every look-up of a name makes some; they reach the kernel only.
    @Test func netlinkIsNoRecord() throws {
      let act = try Bench.act("socket", "netlink")
      act.none(.socket)
    }

    @Test(arguments: ["path", "abstract", "seqpacket"]) func bothEndsOfAUnixConnection(kind: String) throws {
      let act = try Bench.act("unix", kind)
      let client = try act.file("client")
      let accepted = try act.file("accepted")
      let asked = try act.only(.unixConnect)
      #expect(asked.unix.fd == (try Bench.tellsCalls("network", "unix sockets") ? client.descriptor : -1))
      #expect(asked.unix.ino == client.inode)
      #expect(Int(asked.unix.type) == (try act.number("type")))
      let path = try act.text("path")
      #expect((path.first == 0 ? asked.string(.path) : asked.path) == path, "\(asked)")
      let taken = try act.only(.unixAccept)
      #expect(taken.unix.fd == accepted.descriptor && taken.unix.ino == accepted.inode)
      #expect(asked.unix.peer == taken.unix.sock && asked.unix.peer != 0)
      #expect(taken.unix.peer == asked.unix.sock && asked.unix.sock != 0)
    }

    @Test func connectedUnixDatagramSocket() throws {
      let act = try Bench.act("unix", "datagram")
      let asked = try act.only(.unixConnect)
      #expect(asked.path == (try act.text("path")))
      #expect(asked.unix.ino == (try act.file("client")).inode)
    }

    @Test func refusedUnixConnectionIsCounted() throws {
      let type = Int(RecordType.unixConnect.rawValue)
      let before = try Bench.shared.get().sensor.counters().types[type].failed
      let act = try Bench.act("unix-refused")
      act.none(.unixConnect)
      let after = try Bench.shared.get().sensor.counters().types[type].failed
      // A hook on what was done knows of no attempts.
      if try Bench.tellsCalls("network", "unix sockets") { #expect(after - before == 1) }
    }
  }
}
