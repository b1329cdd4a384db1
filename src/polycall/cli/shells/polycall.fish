# Completion of polycall in fish; made by `polycall completion fish`.
function __polycall_at
    set -l at ''
    set -l option ''
    for word in (commandline -opc)[2..-1]
        if test -n "$option"
            set option ''
            continue
        end
        switch (string trim -- "$at $word")
<<steps>>
        end
    end
    test "$at" = "$argv[1]"
end
<<lines>>
