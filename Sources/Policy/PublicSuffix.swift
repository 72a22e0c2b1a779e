/// Names below which anybody can have one: `*.co.uk` or `*.github.io` would let a job speak to whom it likes.
///
/// This is not the Public Suffix List (publicsuffix.org), which has ten thousand rules and changes weekly. It is all top
/// level domains, the usual registries below those of countries, and the hosting services, content delivery networks and
/// tunnels that builds meet or that stolen data leaves by. What is not here is taken for somebody's own.
enum PublicSuffix {
  /// Whether names directly below this one are given to anybody.
  static func contains(_ name: String) -> Bool {
    let labels = name.split(separator: ".")
    if labels.count <= 1 { return !isReserved(name) }
    if labels.count == 2, labels[1].utf8.count == 2, registries.contains(String(labels[0])) { return true }
    return services.contains { matches($0, labels) }
  }

  /// Whether there is one of the list somewhere below this name.
  static func isAboveOne(_ name: String) -> Bool {
    let labels = name.split(separator: ".")
    return services.contains { $0.count > labels.count && matches(Array($0.suffix(labels.count)), labels) }
  }

  /// Top level domains that are nobody's outside (RFC 6762, RFC 2606, ICANN's for private use).
  private static func isReserved(_ name: String) -> Bool { ["internal", "local", "test", "localhost"].contains(name) }

  private static func matches(_ suffix: [Substring], _ labels: [Substring]) -> Bool {
    suffix.count == labels.count && zip(suffix, labels).allSatisfy { $0 == "*" || $0 == $1 }
  }

  /// What registries of countries call their parts: co.uk, com.au, or.jp.
  private static let registries: Set<String> = [
    "ac", "asso", "biz", "co", "com", "coop", "ed", "edu", "firm", "gen", "go", "gob", "gouv", "gov", "gv", "id", "ind",
    "inf", "info", "int", "k12", "lg", "ltd", "me", "med", "mi", "mil", "mobi", "muni", "name", "ne", "net", "nhs",
    "nic",
    "nom", "or", "org", "plc", "police", "press", "priv", "pro", "pub", "res", "sch", "store", "tm", "tv", "web",
  ]

  /// `*` is any one label.
  private static let services: [[Substring]] = """
    amazonaws.com s3.amazonaws.com *.amazonaws.com s3.*.amazonaws.com s3.dualstack.*.amazonaws.com
    s3-website.*.amazonaws.com execute-api.*.amazonaws.com lambda-url.*.on.aws *.on.aws elb.amazonaws.com
    *.elb.amazonaws.com elb.*.amazonaws.com compute.amazonaws.com *.compute.amazonaws.com compute-1.amazonaws.com
    elasticbeanstalk.com *.elasticbeanstalk.com cloudfront.net awsapprunner.com *.awsapprunner.com amplifyapp.com
    azurewebsites.net scm.azurewebsites.net azureedge.net azurefd.net *.azurefd.net cloudapp.net cloudapp.azure.com
    *.cloudapp.azure.com trafficmanager.net blob.core.windows.net file.core.windows.net table.core.windows.net
    queue.core.windows.net dfs.core.windows.net web.core.windows.net *.web.core.windows.net azurestaticapps.net
    *.azurestaticapps.net azure-api.net servicebus.windows.net *.azurecontainer.io *.azurecontainerapps.io azurecr.io
    database.windows.net vault.azure.net
    appspot.com *.r.appspot.com run.app *.run.app web.app firebaseapp.com firebaseio.com cloudfunctions.net
    googleapis.com storage.googleapis.com bc.googleusercontent.com blogspot.com translate.goog
    github.io app.github.dev gitlab.io bitbucket.io codeberg.page sourceforge.net sourceforge.io readthedocs.io
    gitbook.io
    netlify.app vercel.app vercel.dev now.sh pages.dev workers.dev trycloudflare.com r2.dev
    r2.cloudflarestorage.com herokuapp.com fly.dev onrender.com railway.app up.railway.app deno.dev glitch.me repl.co
    replit.app replit.dev surge.sh stackblitz.io webcontainer.io csb.app
    digitaloceanspaces.com *.digitaloceanspaces.com ondigitalocean.app linodeobjects.com *.linodeobjects.com
    backblazeb2.com *.backblazeb2.com wasabisys.com *.wasabisys.com oraclecloud.com oraclecloudapps.com
    *.oraclecloudapps.com
    fastly.net global.fastly.net ssl.fastly.net global.ssl.fastly.net freetls.fastly.net fastlylb.net map.fastly.net
    edgekey.net edgesuite.net akamaized.net akamaihd.net akamai.net akamaiedge.net b-cdn.net cdn77.org
    ngrok.io *.ngrok.io ngrok.app ngrok.dev ngrok-free.app ngrok-free.dev loca.lt serveo.net localhost.run lhr.life
    localto.net bore.pub pagekite.me tunnelto.dev telebit.io ts.net *.ts.net devtunnels.ms *.devtunnels.ms
    duckdns.org ddns.net dyndns.org no-ip.org no-ip.com hopto.org zapto.org sytes.net myftp.org nip.io sslip.io xip.io
    afraid.org mooo.com dynu.net freeddns.org
    requestbin.net m.pipedream.net pipedream.net oast.fun oast.me oast.site oast.online oast.pro oast.live interact.sh
    burpcollaborator.net oastify.com beeceptor.com free.beeceptor.com webhook.site requestcatcher.com
    wordpress.com wixsite.com weebly.com squarespace.com myshopify.com webflow.io notion.site medium.com
    """.split { $0 == " " || $0 == "\n" }.map { $0.split(separator: ".") }
}
