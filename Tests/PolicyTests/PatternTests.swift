import Configuration
import Testing

@testable import Policy

/// What a text is refused with; nil: it is not.
private func refusal<T>(_ body: () throws(FormError) -> T) -> String? {
  do throws(FormError) {
    _ = try body()
    return nil
  } catch {
    return error.message
  }
}

@Suite("Patterns of hosts")
struct HostPatternTests {
  @Test(
    "a name, one label, or any number of them",
    arguments: [
      ("example.org", ["example.org"], ["a.example.org", "example.orga", "aexample.org", ""]),
      ("*.Example.ORG", ["a.example.org"], ["example.org", "a.b.example.org", ".example.org", "aexample.org"]),
      ("**.example.org", ["a.example.org", "a.b.example.org"], ["example.org", "bexample.org"]),
      ("_dmarc.xn--bcher-kva.example", ["_dmarc.xn--bcher-kva.example"], []),
      ("localhost", ["localhost"], ["a.localhost"]),
      ("*.internal", ["db.internal"], ["internal"]),
    ])
  func matches(text: String, these: [String], not others: [String]) throws {
    let pattern = try HostPattern(text)
    for name in these { #expect(pattern.matches(name), "\(name)") }
    for name in others { #expect(!pattern.matches(name), "\(name)") }
    #expect(try HostPattern(pattern.written) == pattern)
  }

  @Test(
    "what is no name",
    arguments: [
      "*", "**", "*.", "*.*.example.org", "a.*.org", "*a.example.org", "", ".", "a..b", ".a", "a.", "-a.org", "a-.org",
      "a b",
      "bücher.example", "https://example.org", "example.org:443", "example.org/x", "10.0.0.1", "*.10.0.0.1", "::1",
      String(repeating: "a", count: 64), String(repeating: "a.", count: 127) + "a",
    ])
  func refused(text: String) { #expect(refusal { () throws(FormError) in try HostPattern(text) } != nil) }

  @Test(
    "no wildcard where anybody can have a name",
    arguments: [
      "*.com", "**.com", "*.co.uk", "**.com.au", "*.github.io", "*.s3.amazonaws.com", "*.s3.eu-west-1.amazonaws.com",
      "*.blob.core.windows.net", "*.cloudfront.net", "*.localhost.run",
      // Below these there are such.
      "**.amazonaws.com", "**.windows.net", "**.azure.com", "**.eu-west-1.amazonaws.com",
    ])
  func publicSuffixes(text: String) {
    #expect(refusal { () throws(FormError) in try HostPattern(text) }?.contains("anybody can have") == true)
  }

  @Test(
    "somebody's own names",
    arguments: [
      "*.example.com", "**.example.co.uk", "*.me.github.io", "*.windows.net", "*.golang.org", "**.svc.cluster.local",
      "*.actions.githubusercontent.com", "**.debian.org",
    ])
  func own(text: String) { #expect(refusal { () throws(FormError) in try HostPattern(text) } == nil) }
}

@Suite("Patterns of paths")
struct PathPatternTests {
  @Test(
    "four forms, from / on or from the job's directory on",
    arguments: [
      ("/a/b", PathPattern(.file, "/a/b")),
      ("/a/*", PathPattern(.children, "/a")),
      ("/a/**", PathPattern(.below, "/a")),
      ("/*", PathPattern(.children, "/")),
      ("/**", PathPattern(.below, "/")),
      ("b", PathPattern(.named, "b")),
      ("**/b", PathPattern(.named, "b")),
      ("a/b", PathPattern(.file, "a/b", isRelative: true)),
      ("./b", PathPattern(.file, "b", isRelative: true)),
      ("a/*", PathPattern(.children, "a", isRelative: true)),
      (".github/workflows/**", PathPattern(.below, ".github/workflows", isRelative: true)),
      ("./**", PathPattern(.below, "", isRelative: true)),
    ])
  func forms(text: String, expected: PathPattern) throws {
    let pattern = try PathPattern(text)
    #expect(pattern == expected)
    #expect(try PathPattern(pattern.written) == pattern)
  }

  @Test(
    "anything else says which forms there are",
    arguments: [
      "*", "**", "/a/*/b", "/a/b*", "*.txt", "**/*.txt", "**/a/b*", "/a/**/b", "a?", "/a/[bc]", "/{a,b}", "**/a/b",
      "/a/*\u{301}",
    ])
  func refused(text: String) {
    let message = refusal { () throws(FormError) in try PathPattern(text) }
    #expect(message?.contains("there is '/DIR/NAME' (that one), '/DIR/*'") == true)
  }

  @Test(
    "paths that are not written as the kernel would",
    arguments: [
      "/", "/a/", "//a", "//**", "/a//b", "/a/../b", "/a/./b", "../a", "..", ".", "./", "**/", "/a/b\0", "a/\u{301}b/",
    ])
  func unclear(text: String) { #expect(refusal { () throws(FormError) in try PathPattern(text) } != nil) }

  @Test func aNameThatIsTooLong() {
    let name = String(repeating: "x", count: 256)
    #expect(
      refusal { () throws(FormError) in try PathPattern(name) } == "a name in the pattern is longer than 255 bytes")
  }

  @Test(
    "what they match",
    arguments: [
      ("/a/b", ["/a/b"], ["/a/bc", "/a/b/c", "/a", "/x/a/b"]),
      ("/a/*", ["/a/b", "/a/.c"], ["/a", "/a/b/c", "/ab/c"]),
      ("/a/**", ["/a/b", "/a/b/c"], ["/a", "/ab", "/ab/c"]),
      ("/*", ["/a"], ["/a/b", "/"]),
      ("/**", ["/a", "/a/b"], ["/"]),
      ("b", ["/b", "/a/b"], ["/a/b/c", "/a/bb"]),
      ("d/f", ["/w/d/f"], ["/d/f", "/w/x/d/f"]),
      ("./**", ["/w/d/f", "/w/x"], ["/w", "/wx", "/d"]),
      ("./f", ["/w/f"], ["/f", "/w/d/f"]),
    ])
  func matches(text: String, these: [String], not others: [String]) throws {
    let pattern = try PathPattern(text).resolved(in: "/w")
    for path in these { #expect(pattern.matches(path), "\(path)") }
    for path in others { #expect(!pattern.matches(path), "\(path)") }
  }

  @Test("relative ones match nothing until it is known to what they are, but names do")
  func unresolved() throws {
    #expect(try !PathPattern("d/f").matches("/d/f") && !PathPattern("d/f").matches("d/f"))
    #expect(try PathPattern("f").matches("/d/f"))
    #expect(try PathPattern("d/f").resolved(in: "/").matches("/d/f"))
  }
}

@Suite("Addresses and networks")
struct IPAddressTests {
  @Test(
    "texts of addresses",
    arguments: [
      ("0.0.0.0", "0.0.0.0"), ("255.255.255.255", "255.255.255.255"), ("::", "::"), ("::1", "::1"), ("1::", "1::"),
      ("2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"), ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
      ("1:0:3:4:5:6:7:8", "1:0:3:4:5:6:7:8"), ("::ffff:192.0.2.1", "192.0.2.1"),
      ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
      ("1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"), ("fe80::", "fe80::"), ("0:0:1::", "0:0:1::"),
    ])
  func texts(text: String, canonical: String) throws {
    let address = try #require(IPAddress(text))
    #expect(address.description == canonical)
    #expect(IPAddress(canonical) == address)
  }

  @Test(
    "what is none",
    arguments: [
      "", ":", ":::", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7::8:9", "12345::", "g::", "1.2.3",
      "1.2.3.4.5",
      "1.2.3.256", "01.2.3.4", "1.2.3.4::", "::1.2.3", "::1%eth0", "+1::", "1.2.3.+4", "1.2.3.4:80",
      "::1:2:3:4:5:6:7:8",
    ])
  func none(text: String) { #expect(IPAddress(text) == nil) }

  @Test("networks contain what begins as they do, IPv4 as a part of IPv6")
  func networks() throws {
    let ten = try IPNetwork(cidr: "10.0.0.0/8")
    #expect(ten == IPNetwork(address: IPAddress(v4: 0x0a00_0000), length: 104))
    #expect(try ten.contains(#require(IPAddress("10.255.0.1"))) && !ten.contains(#require(IPAddress("11.0.0.0"))))
    #expect(ten.description == "10.0.0.0/8")
    let all = try IPNetwork(cidr: "::/0")
    #expect(try all.contains(#require(IPAddress("10.0.0.1"))) && all.contains(ten) && !ten.contains(all))
    let half = try IPNetwork(cidr: "2001:db8::/33")
    #expect(try half.contains(#require(IPAddress("2001:db8:7fff::1"))))
    #expect(try !half.contains(#require(IPAddress("2001:db8:8000::1"))) && half.description == "2001:db8::/33")
    #expect(try IPNetwork(cidr: "0.0.0.0/0").contains(ten))
  }

  @Test(
    "what is wrong with a network",
    arguments: [
      ("10.0.0.0", "has no length; write 'address: 10.0.0.0' for a single one"),
      ("10.0.0.0/33", "the length of '10.0.0.0/33' is not between 0 and 32"),
      ("::/129", "the length of '::/129' is not between 0 and 128"),
      ("10.0.0.0/08", "the length of '10.0.0.0/08' is not between 0 and 32"),
      ("10.0.0.0/", "the length of '10.0.0.0/' is not between 0 and 32"),
      ("10.1.2.3/8", "'10.1.2.3/8' has bits behind its length; the network is 10.0.0.0/8"),
      ("2001:db8::1/64", "'2001:db8::1/64' has bits behind its length; the network is 2001:db8::/64"),
      ("a/8", "'a/8' is no network such as 10.0.0.0/8 or 2001:db8::/32"),
    ])
  func wrong(text: String, message: String) {
    #expect(refusal { () throws(FormError) in try IPNetwork(cidr: text) } == message)
  }
}
