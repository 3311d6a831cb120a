// The table of commands.
#include "cli/usage.h"

namespace tutti::cli {

std::span<const Usage> usages() {
  static const std::vector<Usage> table = {
      {"run", "", "IMAGE [COMMAND...]", 0, 1, "detach rm tty interactive env publish volume memory cpus workdir user name driver network service",
       "One thing, now: its output, its exit code. Ctrl-C goes to what runs; the third one leaves it.", "tutti run --rm hello:1 -- echo hi", true},
      {"ps", "", "", 0, 0, "all job node watch", "What is there: what lives, and with -a what has ended too.", "tutti ps --job shop", false},
      {"explain", "", "INSTANCE|JOB|TASK|NODE", 1, 1, "", "Why it is where it is, is not anywhere, or starts over and over.", "tutti explain shop-web-0", false},
      {"rebalance", "", "", 0, 0, "apply max-moves max-parallel node-pool include-batch",
       "What would be better off on another node: a plan. With --apply it is carried out; services start there before they stop here.", "tutti rebalance --apply --max-moves 20", false},
      {"whoami", "", "", 0, 0, "", "Who the pool takes us for.", "tutti whoami", false},
      {"login", "", "", 0, 0, "authority credential-file", "Exchanges a credential for a token of our own and saves it as a context.",
       "tutti login --address pool.example:7171 --authority authority.pem --credential-file credential", false},
      {"completion", "", "bash|zsh|fish", 0, 1, "", "The shell's completion script.", "source <(tutti completion bash)", false},
      {"version", "", "", 0, 0, "", "Which tutti this is.", "tutti version", false},
      {"help", "", "[COMMAND [VERB]]", 0, 2, "", "What there is.", "tutti help job run", false},

      {"job", "list", "", 0, 0, "watch parent", "All jobs.", "tutti job list", false},
      {"job", "run", "FILE", 1, 1, "", "Submits a job file ('-': standard input); the same name again is a new version.", "tutti job run shop.yaml", false},
      {"job", "validate", "FILE", 1, 1, "", "Whether the file is right, and with which defaults.", "tutti job validate shop.yaml", false},
      {"job", "plan", "FILE", 1, 1, "", "What running the file would change and where each instance would go. Does nothing.", "tutti job plan shop.yaml", false},
      {"job", "show", "NAME", 1, 1, "", "Everything about it.", "tutti job show shop", false},
      {"job", "scale", "NAME [TASK=]COUNT", 2, 2, "", "How many instances there shall be.", "tutti job scale shop web=3", false},
      {"job", "stop", "NAME", 1, 1, "", "Nothing of it runs any more; it stays known.", "tutti job stop shop", false},
      {"job", "start", "NAME", 1, 1, "", "Runs again what was stopped.", "tutti job start shop", false},
      {"job", "history", "NAME", 1, 1, "watch", "Its versions.", "tutti job history shop", false},
      {"job", "diff", "NAME [A [B]]", 1, 3, "", "What differs between two versions; the newest two, if none are named.", "tutti job diff shop 1 3", false},
      {"job", "revert", "NAME VERSION", 2, 2, "", "Submits an earlier version again.", "tutti job revert shop 1", false},
      {"job", "promote", "NAME", 1, 1, "", "Goes on with an update that waits for its user.", "tutti job promote shop", false},
      {"job", "abort", "NAME", 1, 1, "", "Ends an update and goes back to what served before.", "tutti job abort shop", false},
      {"job", "dispatch", "NAME [FILE]", 1, 2, "meta", "Launches a parameterized job, with the file ('-': standard input) as its payload; waits for its end.",
       "tutti job dispatch convert --meta format=pdf page.html", false},
      {"job", "periodic", "force NAME", 2, 2, "", "Launches a periodic job now, whatever its schedule says.", "tutti job periodic force backup", false},
      {"job", "delete", "NAME", 1, 1, "", "Stops it and forgets it.", "tutti job delete shop", false},

      {"instance", "list", "", 0, 0, "all job node watch", "What is there: what lives, and with -a what has ended too.", "tutti instance list -a", false},
      {"instance", "show", "INSTANCE", 1, 1, "", "Everything about it.", "tutti instance show shop-web-0", false},
      {"instance", "logs", "INSTANCE", 1, 1, "follow tail since timestamps task", "What it wrote.", "tutti instance logs -f --since 5m shop-web-0", false},
      {"instance", "exec", "INSTANCE COMMAND...", 1, 1, "tty interactive env workdir user task",
       "Runs a command beside its task: 127 when there is none of that name, 126 when it cannot be run.", "tutti instance exec -it shop-web-0 -- sh", true},
      {"instance", "attach", "INSTANCE", 1, 1, "tty task", "Our terminal becomes the task's.", "tutti instance attach -t shop-web-0", false},
      {"instance", "cp", "FROM TO", 2, 2, "task", "Copies between here and INSTANCE:PATH, into a folder or to a name.", "tutti instance cp shop-web-0:/etc/hosts ./hosts", false},
      {"instance", "signal", "INSTANCE SIGNAL", 2, 2, "task", "Sends it a signal.", "tutti instance signal shop-web-0 HUP", false},
      {"instance", "stop", "INSTANCE", 1, 1, "", "Stops it; it keeps its disk and waits.", "tutti instance stop shop-web-0", false},
      {"instance", "start", "INSTANCE", 1, 1, "", "Starts a stopped one again.", "tutti instance start shop-web-0", false},
      {"instance", "restart", "INSTANCE", 1, 1, "", "Stops it and starts it again.", "tutti instance restart shop-web-0", false},
      {"instance", "pause", "INSTANCE", 1, 1, "", "Freezes it.", "tutti instance pause shop-web-0", false},
      {"instance", "unpause", "INSTANCE", 1, 1, "", "Lets it go on.", "tutti instance unpause shop-web-0", false},
      {"instance", "suspend", "INSTANCE", 1, 1, "", "Puts its memory on disk and stops it.", "tutti instance suspend vm-0", false},
      {"instance", "resume", "INSTANCE", 1, 1, "", "Goes on where it was suspended.", "tutti instance resume vm-0", false},
      {"instance", "delete", "INSTANCE", 1, 1, "", "Ends it; its job may put another one in its place.", "tutti instance delete shop-web-0", false},

      {"node", "list", "", 0, 0, "watch schedulers", "All nodes; with --schedulers who schedules.", "tutti node list", false},
      {"node", "show", "NODE", 1, 1, "", "Everything about it.", "tutti node show node-1", false},
      {"node", "token", "", 0, 0, "name role uses ttl node-name", "A token that a new node, or a scheduler of its own, joins with.", "tutti node token --uses 3 --ttl 30m", false},
      {"node", "cordon", "NODE", 1, 1, "", "Nothing new starts on it.", "tutti node cordon node-1", false},
      {"node", "uncordon", "NODE", 1, 1, "", "It takes work again.", "tutti node uncordon node-1", false},
      {"node", "drain", "NODE", 1, 1, "deadline", "Moves its work elsewhere.", "tutti node drain node-1 --deadline 5m", false},
      {"node", "disable", "NODE", 1, 1, "", "It is not used.", "tutti node disable node-1", false},
      {"node", "enable", "NODE", 1, 1, "", "It is used again.", "tutti node enable node-1", false},
      {"node", "label", "NODE KEY=VALUE|KEY-...", 2, kAnyWords, "", "Sets labels; KEY- takes one away.", "tutti node label node-1 disk=ssd zone-", false},
      {"node", "remove", "NODE", 1, 1, "fenced", "It leaves the pool.", "tutti node remove node-1", false},
      {"node", "resources", "", 0, 0, "watch", "What the pool has, by architecture.", "tutti node resources", false},

      {"image", "list", "", 0, 0, "all watch", "What the catalog holds.", "tutti image list", false},
      {"image", "import", "PATH|URL NAME[:TAG]", 2, 2, "rootfs entrypoint cmd", "An archive, a folder or a URL into the catalog.", "tutti image import rootfs.tar hello:1 --rootfs", false},
      {"image", "show", "NAME[:TAG]", 1, 1, "", "Everything about it.", "tutti image show hello:1", false},
      {"image", "pull", "REGISTRY/NAME[:TAG]", 1, 1, "", "From a registry into the catalog.", "tutti image pull registry.example/team/web:1", false},
      {"image", "push", "IMAGE [REGISTRY/NAME[:TAG]]", 1, 2, "name username password-stdin", "From this machine into the catalog, or from there to a registry.",
       "tutti image push web:1 registry.example/team/web:1", false},
      {"image", "prune", "", 0, 0, "grace", "Removes what nothing needs any more.", "tutti image prune --grace 24h", false},
      {"image", "delete", "NAME[:TAG]", 1, 1, "", "Takes the tag away.", "tutti image delete hello:1", false},

      {"pool", "show", "", 0, 0, "", "The pool at a glance, and its placement policy.", "tutti pool show", false},
      {"pool", "set", "", 0, 0, "policy", "Says which nodes are preferred for jobs that name no policy. What runs stays where it is: 'tutti rebalance' moves it.", "tutti pool set --policy spread", false},

      {"project", "list", "", 0, 0, "", "All projects, and what each allows.", "tutti project list", false},
      {"project", "show", "NAME", 1, 1, "", "What it allows.", "tutti project show default", false},
      {"project", "set", "NAME", 1, 1, "preemption privileged host-path", "Says what it allows; what is not named stays as it is.", "tutti project set default --preemption --host-path /srv/shared", false},

      {"event", "list", "", 0, 0, "limit watch", "What happened.", "tutti event list --limit 20", false},
      {"event", "watch", "", 0, 0, "from", "What happens.", "tutti event watch", false},

      {"operation", "list", "", 0, 0, "watch", "What is under way and what was.", "tutti operation list", false},
      {"operation", "show", "ID", 1, 1, "", "Everything about it.", "tutti operation show 7gk2", false},
      {"operation", "wait", "ID", 1, 1, "", "Until it is over.", "tutti operation wait 7gk2", false},
      {"operation", "cancel", "ID", 1, 1, "", "Ends it.", "tutti operation cancel 7gk2", false},
      {"operation", "retry", "ID", 1, 1, "", "Asks for the same again.", "tutti operation retry 7gk2", false},

      {"config", "show", "", 0, kAnyWords, "", "Every setting of a role, its value and where that comes from.", "tutti config show --role manager", false},

      {"context", "list", "", 0, 0, "", "Which pools we know.", "tutti context list", false},
      {"context", "show", "NAME", 1, 1, "", "How one is reached.", "tutti context show local", false},
      {"context", "use", "NAME", 1, 1, "", "The one that is meant from now on.", "tutti context use local", false},
      {"context", "delete", "NAME", 1, 1, "", "Forgets it.", "tutti context delete local", false}};
  return table;
}

std::map<std::string_view, std::string_view> aliases() {
  return {{"logs", "instance logs"}, {"exec", "instance exec"}, {"attach", "instance attach"}, {"cp", "instance cp"}, {"stop", "instance stop"},
          {"start", "instance start"}, {"restart", "instance restart"}, {"pause", "instance pause"}, {"unpause", "instance unpause"},
          {"rm", "instance delete"}, {"inspect", "instance show"}, {"pull", "image pull"}, {"push", "image push"}, {"images", "image list"}};
}

}  // namespace tutti::cli
