// driver/main.c -- kdc: the stages in the order in which they run.
#include <stdio.h>

int main(void) {
    printf("kdc %s\n", KDC_VERSION);
    return 0;
}
