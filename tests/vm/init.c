/* The first and only program of the kernel that tests/vm/initramfs.rs boots: it prints every file of /cryptroot, a line
 * each, and powers off. */
#include <dirent.h>
#include <stdio.h>
#include <sys/reboot.h>
#include <unistd.h>

int main(void)
{
    char path[300], text[100];
    struct dirent *entry;
    DIR *directory = opendir("/cryptroot");
    while (directory && (entry = readdir(directory))) {
        snprintf(path, sizeof path, "/cryptroot/%s", entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (file && fgets(text, sizeof text, file))
            printf("%s says %s\n", path, text);
    }
    printf("that is all\n");
    fflush(stdout);
    sync();
    reboot(RB_POWER_OFF);
    return 1;
}
