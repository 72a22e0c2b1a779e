public import Observation

/// What was asked for over TLS, equal requests of one connection as one.
public struct RequestSummary: Sendable, Hashable {
  /// `GET`.
  public var method = ""
  /// With its port where the request had one; empty: it said none.
  public var host = Name(bytes: [])
  /// Without the query; secrets masked.
  public var path = Name(bytes: [])
  public var isHTTP2 = false
  public var library = RequestLibrary.openSSL
  /// Id of the process.
  public var process: UInt32 = 0
  public var count: UInt64 = 0

  public init() {}

  /// What makes two of them equal, whoever made them.
  struct Key: Hashable {
    var method: String
    var host: Name
    var path: Name
    var isHTTP2: Bool
    var library: RequestLibrary
    var process: UInt32
  }

  var key: Key { Key(method: method, host: host, path: path, isHTTP2: isHTTP2, library: library, process: process) }
}

/// Requests of a connection.
public struct FlowRequests: Sendable, Hashable {
  /// How many there were.
  public var count: UInt64 = 0
  /// The first kinds of them, ``limit`` at most.
  public var distinct: [RequestSummary] = []
  /// Of `count`, those that are none of these.
  public var unlisted: UInt64 = 0

  /// Kinds that are told of a connection.
  public static let limit = 64

  public init() {}

  mutating func merge(_ other: FlowRequests) {
    count &+= other.count
    unlisted &+= other.unlisted
    var places: [RequestSummary.Key: Int] = [:]
    for (place, request) in distinct.enumerated() { places[request.key] = place }
    for request in other.distinct {
      if let place = places[request.key] {
        distinct[place].count &+= request.count
      } else if distinct.count < Self.limit {
        places[request.key] = distinct.count
        distinct.append(request)
      } else {
        unlisted &+= request.count
      }
    }
  }
}

/// What a job asked for over TLS, as far as it was to be read.
public struct RequestCounting: Sendable, Hashable {
  /// Of all that were read.
  public var count: UInt64 = 0
  /// Whose connection is not known, and which these are.
  public var withoutConnection = FlowRequests()
  /// Writes with requests that could not be read: of HTTP/2 whose beginning was not seen.
  public var hidden: UInt64 = 0
  /// Of `count`, those whose path was longer than what is kept.
  public var cut: UInt64 = 0

  public init() {}
}
