import Policy
import Testing

@Suite struct PolicyActionTests {
  @Test func graverComesLater() {
    #expect(PolicyAction.allow < .observe && PolicyAction.observe < .deny && PolicyAction.deny < .kill)
  }
}
