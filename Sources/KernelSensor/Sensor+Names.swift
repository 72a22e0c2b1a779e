extension Sensor {
  /// Has packets looked at for the names in them, which it is from the beginning on, or not any more: everybody's pass the
  /// programs that do. Changes nothing where a policy rests on what packets say.
  public func hearNames(_ areHeard: Bool) throws(SensorError) {
    for name in ["names_arrive", "names_leave"] {
      if areHeard { try objects.attachLate(name) } else { try objects.detach(name) }
    }
  }
}
